"""How nvidia-smi fails, in words that tell an admin what to do: its exit codes, its refusals, its silence.

Exit codes: "RETURN VALUE" in the manual page of nvidia-smi,
https://docs.nvidia.com/deploy/nvidia-smi/index.html (retrieved 2026-11-20). 126 and 127 are those of the shell, and 124
and 137 those of `timeout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodectl.facts.reading import one_line

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section

NOT_FOUND = "nvidia-smi not found"
NO_DEVICES = "No devices were found"
EXIT_CODES = {
    2: "a wrong argument",
    3: "not available on this device",
    4: "no permission",
    6: "nothing found",
    8: "a GPU's power cables are not attached",
    9: "the NVIDIA driver is not loaded",
    10: "an interrupt problem with a GPU",
    12: "the NVML library was not found or not loaded",
    13: "the NVML library lacks this function",
    14: "an infoROM is corrupted",
    15: "a GPU has fallen off the bus or cannot be reached",
    18: "the loaded driver and the NVML library have different versions",
    126: "may not be executed",
    127: NOT_FOUND,
}
_HUNG = (124, 137)
_MAX_TEXT = 400


def no_devices(section: Section) -> bool:
    """True when nvidia-smi worked and found no GPU at all."""
    if section.rc not in (0, 6) or len(section.text) > _MAX_TEXT:
        return False
    return one_line(f"{section.text}\n{section.stderr}").rstrip(".") == NO_DEVICES


def failure(section: Section, stray: str) -> str:
    """What went wrong with a call of nvidia-smi; empty when nothing did.

    Args:
        section: the call.
        stray: what it printed that is no answer. For a call that failed outright, all that it printed.
    """
    rc = section.rc
    if rc == 0 and not stray:
        return ""
    if rc == 127 and "loading shared libraries" not in section.stderr:
        return NOT_FOUND
    said = one_line(f"{stray}\n{section.stderr}" if rc else stray)
    if rc is None:
        return f"nvidia-smi was cut before its end{': ' + said if said else ''}"
    if rc in _HUNG:
        return f"nvidia-smi did not answer in its time limit (exit code {rc}){': ' + said if said else ''}"
    if rc == 0:
        return said
    meaning = EXIT_CODES.get(rc, "")
    code = f"exit code {rc}{': ' + meaning if meaning else ''}"
    return f"{said} ({code})" if said else f"nvidia-smi failed with {code}"
