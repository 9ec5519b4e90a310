"""How long the command takes to say its first word, beside a bare interpreter, in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

NODECTL = str(Path(sys.executable).with_name("nodectl"))
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "nodectl --version": [NODECTL, "--version"],
    "nodectl --help": [NODECTL, "--help"],
    "nodectl check --help": [NODECTL, "check", "--help"],
    "nodectl checks list": [NODECTL, "checks", "list"],
}
ROUNDS = 15


def wall_ms(argv: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    walls: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):  # interleaved, so that a busy moment hits all alike
        for name, argv in CASES.items():
            walls[name].append(wall_ms(argv))
    floor = statistics.median(walls["python -c pass"])
    print(f"{'command':<24} {'median ms':>10} {'x bare':>8}")
    for name, values in walls.items():
        median = statistics.median(values)
        print(f"{name:<24} {median:>10.1f} {median / floor:>8.2f}")


if __name__ == "__main__":
    main()
