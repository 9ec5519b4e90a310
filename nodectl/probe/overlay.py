"""A root file system that can be written to and thrown away: where sources are tried, and caught if they write.

An overlay of the machine's own files (or of recorded ones on top of them) in private mount, process and network
namespaces. Whatever is written lands in one folder. Needs root and a kernel that allows it.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

# $1 scratch folder, $2 folder laid over the machine's files or empty, then the command. /proc, /sys and /dev are the
# machine's, except where the folder on top brings its own.
_ENTER = r"""
set -e
scratch=$1 top=$2
shift 2
mount -t tmpfs nd "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
# A copy, since a folder and the root that holds it cannot both be layers.
[ -z "$top" ] || cp -R "$top" "$scratch/top"
mount -t overlay nd -o "lowerdir=${top:+$scratch/top:}/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
for each in proc sys dev; do
    if [ -z "$top" ] || [ ! -d "$top/$each" ]; then
        case $each in
        proc) mount -t proc nd "$scratch/root/proc" ;;
        *) mount --rbind "/$each" "$scratch/root/$each" ;;
        esac
    fi
done
rc=0
chroot "$scratch/root" "$@" </dev/null || rc=$?
if [ -n "$(find "$scratch/upper" -mindepth 1 | head -n 1)" ]; then
    echo "WRITTEN:" >&2
    find "$scratch/upper" -mindepth 1 >&2
fi
exit "$rc"
"""


def command(scratch: Path, argv: Sequence[str], *, top: Path | None = None) -> list[str]:
    """The command that runs `argv` in such a root; stderr ends with `WRITTEN:` and the paths if it wrote anything.

    Args:
        scratch: an empty folder; nothing is left in it.
        argv: what to run inside.
        top: a folder whose files lie over the machine's, e.g. a recorded `/proc` and `/sys`.
    """
    above = "" if top is None else str(top.resolve())
    return ["unshare", "-m", "-p", "-n", "-f", "sh", "-c", _ENTER, "nd-overlay", str(scratch), above, *argv]


def refusal(scratch: Path) -> str:
    """Why this machine cannot do it; empty when it can."""
    try:
        done = subprocess.run(command(scratch, ["true"]), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return done.stderr.strip() or f"{shlex.join(command(scratch, ['true'])[:5])} ended with {done.returncode}"
