"""`@slurm:PARTITION`: the nodes of a Slurm partition, asked of `sinfo` on this machine."""

from __future__ import annotations

import subprocess

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.nodeset import expand
from nodectl.strict_yaml import quoted
from nodectl.suggest import did_you_mean

SINFO_TIMEOUT_S = 20.0
"""A controller that takes longer is not answering; sinfo itself gives up on it after 10 s a try."""


def partition_nodes(partition: str) -> list[str]:
    """The node names of a partition, whatever state they are in (a node that is down is a finding, not a gap).

    Args:
        partition: its name; empty for every partition.

    Raises:
        InventoryError: sinfo is missing or fails, or there is no such partition.
    """
    where = f"@slurm:{partition}" if partition else "@slurm"
    if partition.startswith("-") or not partition.isprintable():
        raise InventoryError(f"{where}: {quoted(partition)} is no partition name")
    options = ["-p", partition] if partition else []
    names = expand(",".join(_sinfo(where, [*options, "-o", "%N"]).split()))
    if names:
        return names
    known = [name for name in _sinfo(where, ["-o", "%R"]).split() if name]
    hint = did_you_mean(partition, known) or (f"; partitions here: {', '.join(known)}" if known else "")
    raise InventoryError(f"{where}: Slurm knows no node of it{hint}")


def _sinfo(where: str, options: list[str]) -> str:
    command = ["sinfo", "-h", *options]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SINFO_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise InventoryError(
            f"{where}: sinfo is not on this machine's PATH: run nodectl where Slurm's commands are, "
            "or name the nodes: --hosts 'gpu[001-128]'"
        ) from None
    except OSError as problem:
        raise InventoryError(f"{where}: cannot run sinfo: {problem.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InventoryError(f"{where}: sinfo gave no answer in {SINFO_TIMEOUT_S:.0f} s: is slurmctld up?") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InventoryError(
            f"{where}: `{' '.join(command)}` failed with exit status {done.returncode}"
            + (f": {quoted(said[-1], 300)}" if said else "")
        )
    return done.stdout
