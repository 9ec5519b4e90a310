"""Nodes with one thing wrong each: commands that answer as a broken GPU node's would, put first on its PATH.

The healthy answers are those of the recorded 8x H200 node of the demo fleet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cluster import put

from nodectl.demo.recording import DATA, read_sections

RECORDED = DATA / "h200"

QUERY, TOPOLOGY = "-q -x", "topo -m"
SMI_SOURCES = ("nvidia_smi_q", "nvidia_smi_topo", "nvidia_smi_nvlink", "nvidia_smi_p2p", "nvidia_smi_list")
HEALTHY: Mapping[str, str] = {
    section.name.removeprefix("nvidia-smi "): section.text
    for source in SMI_SOURCES
    for section in read_sections(RECORDED / f"{source}.txt")
}
_GPU = re.compile(r"\t<gpu id=.*?\t</gpu>\n", re.DOTALL)
OWNED = "\x1b]0;owned\x07\x1b[2J\u202e[/red][@click=app.quit]&lt;img src=x&gt;"


class Fault(NamedTuple):
    """A broken node.

    Attributes:
        cause: what each fact must say that cannot be read because of it.
        smi: what nvidia-smi answers to each call ({arguments: text}), or all of it as a script; None: there is none.
        rc: with which nvidia-smi ends.
        others: more commands of that node, as scripts.
        fails: exactly the checks (of medium severity and above) that fail on an 8x H200 node with this fault.
        gives_up: nvidia-smi ends with an error, or never; else it says that all is well.
    """

    cause: str
    smi: Callable[[], Mapping[str, str] | str] | None
    rc: int = 0
    others: Mapping[str, str] = {}
    fails: frozenset[str] = frozenset()
    gives_up: bool = False


def query(edit: Callable[[str], str]) -> Callable[[], Mapping[str, str]]:
    """Another answer to `nvidia-smi -q -x`, the rest as it was."""
    return lambda: {**HEALTHY, QUERY: edit(HEALTHY[QUERY])}


def everything(text: str) -> Callable[[], Mapping[str, str]]:
    """The same answer to whatever is asked."""
    return lambda: dict.fromkeys(HEALTHY, text)


def script(body: str) -> Callable[[], str]:
    return lambda: body


def without_gpu(number: int) -> Callable[[str], str]:
    def edit(text: str) -> str:
        return text.replace(_GPU.findall(text)[number], "")

    return edit


def in_gpu(number: int, **fields: str) -> Callable[[str], str]:
    """Other values of one GPU, by their tags; each wherever it stands."""

    def edit(text: str) -> str:
        old = new = _GPU.findall(text)[number]
        for tag, value in fields.items():
            parts = re.split(rf"(?<=<{tag}>)[^<]*(?=</{tag}>)", new)
            assert len(parts) > 1, tag
            new = value.join(parts)
        return text.replace(old, new)

    return edit


def lost_gpu(number: int) -> Callable[[str], str]:
    """What is left of a GPU that is off the bus: its address; in place of all else, that it is lost."""

    def edit(text: str) -> str:
        old = _GPU.findall(text)[number]
        kept = ("minor_number", "pci_bus_id", "pci_bus", "pci_device", "pci_domain")
        new = re.sub(r"<(\w+)>[^<\n]+</\1>", lambda m: m[0] if m[1] in kept else f"<{m[1]}>[GPU is lost]</{m[1]}>", old)
        return text.replace(old, new)

    return edit


def _bomb(text: str) -> str:
    lines = ['<!ENTITY a0 "lol">', *(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))]
    bombed = text.replace('SYSTEM "nvsmi_device_v13.dtd">', "[" + "".join(lines) + "]>")
    assert bombed != text
    return bombed.replace("<product_name>NVIDIA H200<", "<product_name>&a9;<", 1)


_LONG_LINE = "<gpu><uuid>0123456789012345678901234567890</uuid>"
_DENIED = 'echo "dmesg: read kernel buffer failed: Operation not permitted" >&2; exit 1'
_MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
_NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n"
)
_OFF_THE_BUS = (
    "Unable to determine the device handle for GPU0000:9D:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
)

_NO_ANSWER = frozenset({"driver.answers"})
_LOST = frozenset({"gpu.answers"})
_NO_GPU = frozenset({"driver.answers", "gpu.all_attached", "gpu.count_expected"})

# Nodes whose list of GPUs cannot be read. One that has no nvidia-smi, or whose babbles, is no verdict on the driver.
NO_LIST: Mapping[str, Fault] = {
    "missing": Fault("nvidia-smi not found", None, gives_up=True),
    "hangs": Fault("did not answer in its time limit", script("exec sleep 600"), fails=_NO_ANSWER, gives_up=True),
    "mute": Fault(
        "did not answer in its time limit",
        script("trap '' TERM HUP INT; while :; do sleep 1; done"),
        fails=_NO_ANSWER,
        gives_up=True,
    ),
    "mismatch": Fault("Driver/library version mismatch", everything(_MISMATCH), 18, fails=_NO_ANSWER, gives_up=True),
    "nodriver": Fault(
        "couldn't communicate with the NVIDIA driver", everything(_NO_DRIVER), 9, fails=_NO_ANSWER, gives_up=True
    ),
    "offbus": Fault("GPU is lost", everything(_OFF_THE_BUS), 15, fails=_NO_ANSWER, gives_up=True),
    "truncated": Fault(
        "truncated after 4 of 8 GPUs", query(lambda text: text[: len(text) * 55 // 100]), fails=_NO_ANSWER
    ),
    "bomb": Fault("an entity declaration", query(_bomb), fails=_NO_ANSWER),
    "floods": Fault("sent more than", script(f"yes '{_LONG_LINE}' | head -c 50000000")),
    "binary": Fault("binary data", script("head -c 300000 /dev/urandom")),
    "empty": Fault("printed nothing", everything(""), fails=_NO_ANSWER),
    "crashes": Fault(
        "Segmentation fault", everything("Segmentation fault (core dumped)\n"), 139, fails=_NO_ANSWER, gives_up=True
    ),
}
NONE_FOUND: Mapping[str, Fault] = {
    "nodevices": Fault("No devices were found", everything("No devices were found\n"), 6, fails=_NO_GPU),
    "nodevices0": Fault("No devices were found", everything("No devices were found\n"), fails=_NO_GPU),
}
# Nodes whose list of GPUs is whole, as far as nvidia-smi prints it.
LISTED: Mapping[str, Fault] = {
    "seven": Fault("", query(without_gpu(3)), fails=frozenset({"gpu.all_attached", "gpu.count_expected"})),
    "unknown": Fault(
        "Unknown Error", query(in_gpu(5, gpu_temp="[Unknown Error]", performance_state="[Unknown Error]")), fails=_LOST
    ),
    "err": Fault("ERR!", query(in_gpu(2, fan_speed="ERR!", persistence_mode="ERR!", current_ecc="ERR!")), fails=_LOST),
    "lost": Fault("GPU is lost", query(lost_gpu(4)), fails=_LOST),
    "escapes": Fault(
        "",
        query(in_gpu(0, product_name=OWNED, serial=OWNED)),
        fails=frozenset({"gpu.model_expected", "gpu.models_alike"}),
    ),
    "badend": Fault("exit code 15: a GPU has fallen off the bus", lambda: HEALTHY, 15, fails=_NO_ANSWER),
    "nolog": Fault(
        "needs root: the kernel log could not be read",
        lambda: HEALTHY,
        others={"dmesg": _DENIED, "journalctl": 'echo "No journal files were found." >&2; exit 1'},
    ),
    "healthy": Fault("", lambda: HEALTHY),
}
FAULTS = {**NO_LIST, **NONE_FOUND, **LISTED}


def lay(fault: Fault, folder: Path, *, hurry: bool = True) -> Path:
    """Make a folder with a fault's commands. `hurry`: the probe's long time limits there are four seconds."""
    folder.mkdir()
    if hurry:
        shorter = 'for word; do case $word in 40 | 25 | 20) word=4 ;; esac; set -- "$@" "$word"; shift; done'
        put(folder, "timeout", f'{shorter}; exec /usr/bin/timeout "$@"')
    for name, body in fault.others.items():
        put(folder, name, body)
    answers = fault.smi() if fault.smi else None
    if isinstance(answers, str):
        put(folder, "nvidia-smi", answers)
    elif answers is not None:
        for words, text in answers.items():
            (folder / words.replace(" ", "_")).write_text(text)
        put(folder, "nvidia-smi", f'IFS=_; cat "{folder}/$*" || exit 2; exit {fault.rc}')
    return folder
