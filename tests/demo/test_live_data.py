"""The recording of the demo's telemetry: it is the capture of a real machine, and it plays."""

from __future__ import annotations

import itertools
from pathlib import Path

from make_live import CAPTURE, NODE, RECORDING, messages

from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_INDEX
from nodectl.telemetry.messages import encode
from nodectl.telemetry.record import Replay
from nodectl.telemetry.store import Store


def test_it_says_what_was_captured_and_nothing_else(shared: Path) -> None:
    """Seen through stores: the recording may be older than the newest field."""
    capture = shared / CAPTURE.relative_to(CAPTURE.parents[2])
    captured, recorded = Store(), Store()
    with Replay(RECORDING) as replay:
        for record, (t, message) in itertools.zip_longest(replay.records(), messages(capture)):
            captured.put(NODE, decode(encode(message)), at=t)
            found = replay.message(record)
            assert found is not None
            recorded.put(NODE, found, at=record.t)
            assert record.t == t
            assert recorded.nodes[NODE].gpus == captured.nodes[NODE].gpus


def test_it_is_small_and_plays_from_rest_to_work_and_back() -> None:
    assert RECORDING.stat().st_size < 150_000
    with Replay(RECORDING) as replay:
        store = replay.store()
        power: list[float] = []
        for second in (2.0, 35.0, 60.0):
            replay.seek(second, store)
            rows = store.nodes[NODE].gpus
            assert len(rows) == 8
            power.append(sum(row[GPU_INDEX["power_w"]] or 0.0 for row in rows if row is not None))
        assert replay.problem == ""
    idle, busy, after = power
    assert idle < 700 < 5000 < busy
    assert after < 0.25 * busy
