"""What runs on a node: plain Python files for 3.6 and newer, streamed there and run from memory.

Only the standard library and nvidia-ml-py's `pynvml` (streamed along) may be imported by the files of this folder, and
their syntax is that of Python 3.6: annotations are strings, so that they are never evaluated there. They import each
other by relative imports, so the launcher makes a package of any name in memory and fills it in the order of MODULES.
"""

from __future__ import annotations

from pathlib import Path

# Each file imports only from those before it.
MODULES: tuple[str, ...] = (
    "names",
    "wire",
    "worker",
    "library",
    "readings",
    "throughput",
    "device",
    "processes",
    "proc_info",
    "gpus",
    "gpu_side",
    "sysfs",
    "host",
    "lifetime",
    "agent",
)


def sources() -> list[tuple[str, str]]:
    """Name and source text of every file, in the order in which they must be run; the last one has `main(options)`."""
    here = Path(__file__).parent
    return [(name, (here / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]
