"""A recording that was never recorded: two nodes of two GPUs, one of which gets hot and cools down again, and a third
node that nobody could reach."""

from __future__ import annotations

from pathlib import Path

from made_up_fleet import BUSY, T0, hello, slow, tick, work

from nodectl.telemetry.messages import Event
from nodectl.telemetry.ndtel import State
from nodectl.telemetry.record import RecordWriter

TEMPERATURES = (60, 70, 84, 91, 93, 92, 80, 71, 70, 70)


def write_run(path: Path, temperatures: tuple[int, ...] = TEMPERATURES, lost: bool = True) -> Path:
    """GPU 1 of gpu-02 has these temperatures, one a second; all others have 71."""
    writer = RecordWriter(path, nodes=("gpu-01", "gpu-02", *(("gpu-03",) if lost else ())))
    for name in ("gpu-01", "gpu-02"):
        writer.put(name, T0, hello(2, unsupported={"pcie_replays": "not on this one"}))
        writer.put(name, T0, slow(1, [BUSY] * 2, T0, work("alice", "88213", 2)))
    if lost:
        reason = ("timeout", "gpu-03 (10.0.0.3 port 22): connecting took longer than 10 s", "")
        writer.put_state("gpu-03", T0, State("retry", *reason, 1))
    for number, temperature in enumerate(temperatures):
        t = T0 + number + 0.5
        writer.put("gpu-01", t, tick(number + 2, [BUSY, BUSY], t))
        writer.put("gpu-02", t, tick(number + 2, [BUSY, BUSY | {"temperature_c": temperature}], t))
        if number == 4:
            writer.put("gpu-02", t, Event(t=t, gpu="1", what="xid", code=79, text="fell off the bus"))
    writer.close()
    return path
