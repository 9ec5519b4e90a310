"""`python -m nodectl.probe SOURCE [ARGS...]`: runs one source on this machine and shows its sections.

For whoever writes a source or its parser. `--root DIR` lays recorded files (`DIR/proc/...`) over this machine's own.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nodectl.probe import wire
from nodectl.probe.compose import SourceError, SourceSpec, load_sources, prelude, read_source
from nodectl.probe.overlay import command
from nodectl.probe.transcript import SourceReply, Transcript
from nodectl.suggest import did_you_mean

_SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"], "sh": ["sh"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m nodectl.probe", description=__doc__)
    parser.add_argument("source", help="name of a source, or path of a source file")
    parser.add_argument("args", nargs="*", help="what the source takes, e.g. sysctl keys")
    parser.add_argument("--shell", choices=sorted(_SHELLS), default="sh")
    parser.add_argument("--root", type=Path, help="a folder of recorded files, laid over this machine's (needs root)")
    parser.add_argument("--short", type=int, default=0, metavar="N", help="show N lines of each section")
    options = parser.parse_args()
    try:
        spec = _spec(options.source)
        reply = run_source(spec, options.args, shell=_SHELLS[options.shell], root=options.root)
    except SourceError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(_shown(reply, options.short))  # noqa: T201
    return 0 if reply.state == "ok" else 1


def _spec(name: str) -> SourceSpec:
    if name.endswith(".sh"):
        return read_source(Path(name))
    known = load_sources()
    if name not in known:
        raise SourceError(f'no source "{name}"{did_you_mean(name, known)} (known: {", ".join(known)})')
    return known[name]


def run_source(spec: SourceSpec, args: list[str], *, shell: list[str], root: Path | None = None) -> SourceReply:
    """Runs one source on this machine, by itself, and frames what it says.

    Raises:
        SourceError: it wrote a file (seen only with `root`).
    """
    nonce = secrets.token_hex(16)
    sudo = "" if os.geteuid() == 0 else "sudo -n"
    extra = {"ND_NONCE": nonce, "ND_SAMPLE_S": "1", "ND_SUDO": sudo, "LC_ALL": "C", "TZ": "UTC0"}
    argv = ["timeout", "-k", "2", str(spec.timeout_s + spec.sample)]
    argv += [*shell, "-c", prelude() + spec.body, f"nd-{spec.name}", *args]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        if root is not None:
            argv = command(Path(scratch), argv, top=root)
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **extra}, check=False
        )
    if b"WRITTEN:" in done.stderr:
        raise SourceError(f"{spec.name} {done.stderr.decode(errors='replace')}")
    ended = time.monotonic()
    mark = f"@{nonce} ".encode()
    text = mark + f"src {spec.name} {began:.2f} {spec.timeout_s}\n".encode() + done.stderr + done.stdout
    text += b"\n" + mark + f"exit {spec.name} {abs(done.returncode)} {ended:.2f}\n".encode()
    reply = wire.encode_start(nonce, [spec.name], {}) + wire.encode_lane(0, text)
    return Transcript(node="localhost", nonce=nonce, wire=reply).source(spec.name)


def _shown(reply: SourceReply, lines: int) -> str:
    size = sum(len(one.text) for one in reply.sections)
    out = [f"== {reply.source}: {reply.state}, rc {reply.rc}, {reply.duration_ms} ms, {size} characters {reply.note}"]
    for one in reply.sections:
        out.append(f"-- {one.kind} {one.name} [rc {one.rc}]")
        text = one.text.split("\n")
        out += text if not lines or len(text) <= lines else [*text[:lines], f"   ... {len(text) - lines} more lines"]
        out += [f"!! {line}" for line in one.stderr.splitlines()]
    return "\n".join(out)


if __name__ == "__main__":
    sys.exit(main())
