"""Pictures of nodectl for the README: `make screenshots` runs the real command and draws what it prints.

Usage: python tests/screenshots/make.py
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
WIDTH = 100
# name: words of the command, and how many lines of its output to show from the top and from the bottom
PICTURES = {
    "check": (["check", "--demo"], 35, 27),
    "watch": (["watch", "--demo", "--once"], 18, 0),
}


def main() -> None:
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    for name, (words, top, bottom) in PICTURES.items():
        argv = [sys.executable, "-m", "nodectl", *words, "--color", "always"]
        done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        said = done.stdout.splitlines()
        lines = [*said[:top], "", "[...]", "", *said[-bottom:]] if bottom else said[:top]
        text = Text.from_ansi("\n".join(lines))
        width = max(WIDTH, *(line.cell_len for line in text.split("\n")))
        console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
        console.print(text)
        path = HERE / f"{name}.svg"
        svg = console.export_svg(title="nodectl " + " ".join(words))
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))  # no font from the network
        print(f"{path.relative_to(Path.cwd())}: {len(lines)} lines")


if __name__ == "__main__":
    main()
