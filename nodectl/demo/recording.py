"""What a node answers to every source of the probe, read from `data/`, and the edits that a story makes to it.

A file of `data/h200/` is the reply of one source. A line `>>> KIND RC NAME` begins a section, lines `>>! ` after its
text are what the command said on stderr. An edit that finds nothing to change is an error: so no story can go stale
without a word when the data is made anew.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from nodectl.probe.transcript import Section, SourceReply, write_transcript

DATA = Path(__file__).resolve().parent / "data"
HOST = "gpu-00"
RECORDED_AT_S = 1795205188
"""When the nodes answered, by their own clock: 2026-11-20 20:06:28 UTC."""
UPTIME_S = 986_421.37
GPU_BUSES = ("1b", "43", "52", "61", "9d", "c3", "d1", "df")
"""PCI bus of each GPU, by the number that nvidia-smi gives it."""

_BEGIN, _STDERR = ">>> ", ">>! "
_ZERO_UUID = "00000000-0000-4000-8000-00000000000"
_ZERO_SERIAL = "165000000000"
_ADMIN_UID = 1000


def host_id(host: str) -> uuid.UUID:
    """What the ids of a demo node are made from."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.demo.nodectl")


def boot_id(host: str) -> str:
    return str(uuid.uuid5(host_id(host), "boot"))


def gpu_uuid(host: str, index: int) -> str:
    """The UUID of a node's GPU, the same in what it is asked and in its telemetry."""
    return f"GPU-{uuid.uuid5(host_id(host), str(index))}"


def read_sections(path: Path) -> tuple[Section, ...]:
    """The sections of one file of `data/`.

    Raises:
        ValueError: it is no such file.
    """
    return tuple(_sections(path))


def _sections(path: Path) -> Iterator[Section]:
    head: list[str] = []
    text: list[str] = []
    said: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), f"{_BEGIN}end 0 of file"]:
        if line.startswith(_STDERR):
            said.append(line.removeprefix(_STDERR) + "\n")
        elif not line.startswith(_BEGIN):
            text.append(line)
        else:
            if head:
                kind, rc, name = head
                # What a source says itself (nd_text) has no newline at its end.
                body = "\n".join(text) if kind == "text" else "".join(f"{one}\n" for one in text)
                yield Section(kind, name, body, "".join(said), int(rc))
            elif text or said:
                raise ValueError(f"{path}: begins with no section")
            head, text, said = line.removeprefix(_BEGIN).split(" ", 2), [], []


class Recording:
    """The replies of one node. The methods edit it in place; each raises ValueError when it changes nothing."""

    def __init__(self, replies: dict[str, SourceReply]) -> None:
        self._replies = replies

    @classmethod
    def load(cls, folder: Path = DATA / "h200") -> Recording:
        """The recording of a folder: one file a source."""
        replies = {}
        for path in sorted(folder.glob("*.txt")):
            replies[path.stem] = SourceReply(path.stem, sections=read_sections(path), duration_ms=20)
        return cls(replies)

    def copy(self) -> Recording:
        return Recording(dict(self._replies))

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self._replies)

    def text(self, source: str, section: str) -> str:
        """What a section of a source says."""
        return self._section(source, section).text

    def wire(self, nonce: str, wanted: Sequence[str]) -> bytes:
        """The reply to one script, as it comes over the wire. What was never recorded comes out as cut off."""
        missing = SourceReply("", "missing")
        replies = {source: self._replies.get(source, missing) for source in wanted}
        wire = write_transcript(replies, nonce=nonce, uid=_ADMIN_UID, epoch_s=RECORDED_AT_S, uptime_s=UPTIME_S).wire
        for source, reply in replies.items():
            if reply.state == "timeout":
                # Not ended by TERM, but found to be stuck: in a hung driver a process cannot be killed.
                ended = re.compile(rb"@%b exit %b \d+ " % (nonce.encode(), source.encode()))
                wire = ended.sub(b"@%b stuck %b " % (nonce.encode(), source.encode()), wire)
        return wire

    def name(self, host: str) -> None:
        """Its own host name, ids, GPU UUIDs and serial numbers, in place of the anonymous ones of the recording."""
        own = host_id(host)
        pairs = (
            (HOST, host),
            ("0" * 32, own.hex),
            (f"{_ZERO_UUID}0\n", f"{boot_id(host)}\n"),
            (_ZERO_SERIAL, f"165{own.int % 10**9:09d}"),
            *((f"GPU-{_ZERO_UUID}{index}", gpu_uuid(host, index)) for index in range(len(GPU_BUSES))),
        )
        for source, reply in self._replies.items():
            sections = reply.sections
            for old, new in pairs:
                sections = tuple(
                    msgspec.structs.replace(one, text=one.text.replace(old, new)) if old in one.text else one
                    for one in sections
                )
            self._replies[source] = msgspec.structs.replace(reply, sections=sections)

    def replace(self, source: str, old: str, new: str, section: str = "") -> None:
        """Other text, in all sections of a source or in the named one."""
        self.substitute(source, re.escape(old), new.replace("\\", r"\\"), section)

    def substitute(self, source: str, pattern: str, by: str, section: str = "") -> None:
        """The same with a regular expression; ^ and $ are the ends of a line."""
        reply, found = self._replies[source], 0
        sections = []
        for one in reply.sections:
            if section in ("", one.name):
                text, count = re.subn(pattern, by, one.text, flags=re.MULTILINE)
                found += count
                one = msgspec.structs.replace(one, text=text)
            sections.append(one)
        if not found:
            raise ValueError(f"{source}: nothing is like {pattern!r}")
        self._replies[source] = msgspec.structs.replace(reply, sections=tuple(sections))

    def answer(self, source: str, section: str, text: str, *, rc: int = 0, stderr: str = "") -> None:
        """Another answer of one command or file."""
        self._section(source, section)
        reply = self._replies[source]
        sections = tuple(
            Section(one.kind, one.name, text, stderr, rc) if one.name == section else one for one in reply.sections
        )
        self._replies[source] = msgspec.structs.replace(reply, sections=sections)

    def hang(self, source: str, section: str, after_s: int) -> None:
        """The source never came to the end of that section, and was given up after so many seconds."""
        self._section(source, section)
        sections: list[Section] = []
        for one in self._replies[source].sections:
            if one.name == section:
                sections.append(Section(one.kind, section, "", "", None))
                break
            sections.append(one)
        self._replies[source] = SourceReply(
            source, "timeout", sections=tuple(sections), rc=None, duration_ms=1000 * after_s
        )

    def gpu(self, index: int, **values: str) -> None:
        """Values of one GPU in nvidia-smi's XML, by their tags; `__` steps into an element (`aggregate__dram_...`)."""
        text = self.text("nvidia_smi_q", "nvidia-smi -q -x")
        head, *gpus = re.split(r"(?=^\t<gpu id=)", text, flags=re.MULTILINE)
        for path, value in values.items():
            *outer, tag = path.split("__")
            inside = "".join(rf"<{name}>(?:(?!</{name}>).)*?" for name in outer)
            gpus[index], count = re.subn(
                rf"({inside}<{tag}>)[^<]*", rf"\g<1>{value}", gpus[index], count=1, flags=re.DOTALL
            )
            if not count:
                raise ValueError(f"GPU {index} has no {path}")
        self.answer("nvidia_smi_q", "nvidia-smi -q -x", head + "".join(gpus))

    def every_gpu(self, **values: str) -> None:
        for index in range(len(GPU_BUSES)):
            self.gpu(index, **values)

    def unit(self, name: str, active: str, sub: str, enabled: str) -> None:
        """Another state of a systemd unit."""
        head = rf"(Names={re.escape(name)}\nLoadState=loaded\n)"
        state = rf"\g<1>ActiveState={active}\nSubState={sub}\nUnitFileState={enabled}"
        self.substitute("services", head + r"ActiveState=.*\nSubState=.*\nUnitFileState=.*$", state)

    def kernel_says(self, hours_ago: float, *messages: str) -> None:
        """Lines of the kernel log, in the journal and in the kernel's own buffer."""
        journal, dmesg = "journalctl -k -b -o short-unix", "dmesg"
        host = self.text("node", "files").split("/proc/sys/kernel/hostname:", 1)[1].split("\n", 1)[0]
        for number, message in enumerate(messages):
            up_s = round(UPTIME_S - hours_ago * 3600 + number * 0.013, 6)
            at_s = round(RECORDED_AT_S - UPTIME_S + up_s, 6)
            end = "nd_dropped 0"
            self.replace("kernel_log", end, f"1\t{at_s:.6f}\t{at_s:.6f} {host} kernel: {message}\n{end}", journal)
            self.replace("kernel_log", end, f"1\t{up_s:.6f}\t[{up_s:12.6f}] {message}\n{end}", dmesg)

    def _section(self, source: str, name: str) -> Section:
        for section in self._replies[source].sections:
            if section.name == name:
                return section
        raise ValueError(f"{source} has no section {name!r}")
