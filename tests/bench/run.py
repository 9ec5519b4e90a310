"""`make bench`: every benchmark, or those named. Figures are ratios against peers or a floor in the same run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# In the order in which they are run; each is a program of its own that prints a table.
BENCHES = {
    "startup": ["startup.py"],
    "evaluate": ["evaluate.py"],
    "judge": ["judge.py"],
    "across": ["across.py"],
    "telemetry-store": ["telemetry/store.py"],
    "telemetry": ["telemetry/streams.py"],
    "telemetry-1000": ["telemetry/streams.py", "--real", "1000", "--simulated", ""],
    "fanout": ["fanout/run.py", "--hosts", "50,200"],
    "fanout-50ms": ["fanout/run.py", "--hosts", "50,200", "--rtt-ms", "50"],  # needs root, for two network namespaces
    "fanout-1000": ["fanout/run.py", "--hosts", "1000", "--repeat", "1"],
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)} (there are {', '.join(BENCHES)})", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        program, *options = BENCHES[name]
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        failed += subprocess.run([sys.executable, str(HERE / program), *options], check=False).returncode != 0
        print(f"   ({time.monotonic() - begun:.0f} s)\n", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
