"""A fake nvidia-smi that says what its state.json says. It is copied to a node's bin folder and runs in this Python.

state: columns, rows (text as recorded), help (the names of --help-query-gpu; empty for none), refuse (names refused
though the help has them), lost ({uuid: text in every cell}), fail (words and status 9), hang, deaf (ignores TERM and
PIPE), apps (rows), end_after (samples). It is read anew for each sample, so a test can change what happens.
"""

# The launcher puts `#!PYTHON -IS` above.
import json
import signal
import sys
import time
from pathlib import Path

STATE = Path(__file__).with_name("state.json")
ALIASES = {
    "clocks.sm": "clocks.current.sm",
    "clocks.mem": "clocks.current.memory",
    "power.limit": "enforced.power.limit",
}


def main() -> int:
    state = json.loads(STATE.read_text())
    argv = sys.argv[1:]
    with STATE.with_name("calls").open("a") as calls:
        calls.write(" ".join(argv) + "\n")
    if state.get("deaf"):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
    while state.get("hang"):
        time.sleep(60)
    if "--help-query-gpu" in argv:
        for name in state["help"]:
            print(f'"{name}"\nWhat it means.\n')
        return 0
    if state.get("fail"):
        print(state["fail"])
        return 9
    options = dict(word.split("=", 1) for word in argv if "=" in word)
    if "--query-compute-apps" in options:
        print("\n".join(state.get("apps", [])))
        return 0
    names = options["--query-gpu"].split(",")
    for name in names:
        if name in state.get("refuse", []) or column(state, name) is None:
            print(f'Field "{name}" is not a valid field to query.\n')
            return 2
    only = argv[argv.index("-i") + 1].split(",") if "-i" in argv else None
    if "-lms" not in argv:
        return sample(state, names, only)
    pause_s = int(argv[argv.index("-lms") + 1]) / 1000
    done = 0
    while True:
        sample(state, names, only)
        done += 1
        if done == state.get("end_after"):
            return 15
        time.sleep(pause_s)
        state = json.loads(STATE.read_text())
        while state.get("hang"):
            time.sleep(0.05)
            state = json.loads(STATE.read_text())


def column(state: dict, name: str) -> "int | None":
    name = ALIASES.get(name, name)
    if name == "clocks_throttle_reasons.active":
        name = "clocks_event_reasons.active"
    return state["columns"].index(name) if name in state["columns"] else None


def sample(state: dict, names: list, only: "list | None") -> int:
    status = 0
    uuid_at, index_at = state["columns"].index("uuid"), state["columns"].index("index")
    out = []
    for row in state["rows"]:
        uuid = row[uuid_at]
        if only is not None and uuid not in only and row[index_at] not in only:
            continue
        lost = state.get("lost", {}).get(uuid)
        if lost == "silent":
            continue
        if lost == "handle":
            bus = row[state["columns"].index("pci.bus_id")][4:]
            out.append(f"Unable to determine the device handle for GPU{bus}: Unknown Error")
            status = 15
            if only is None:
                break
            continue
        cells = []
        for name in names:
            cell = row[column(state, name)]
            if lost and name not in ("uuid", "index", "pci.bus_id", "name"):
                cell = lost
            cells.append(cell)
        out.append(", ".join(cells))
    if not out:
        out, status = ["No devices were found"], 6
    try:
        print("\n".join(out), flush=True)
    except OSError:
        if not state.get("deaf"):
            raise
    return status


if __name__ == "__main__":
    sys.exit(main())
