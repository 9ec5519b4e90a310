"""PCIe registers of a device, as the probe source pcie_tree takes them out of its configuration space.

Bits are those of the PCI Express Base Specification, as in the kernel's include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nodectl.facts.reading import Row, command_trouble
from nodectl.facts.registry import Field

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SPACE, HEADER = "configuration space", "configuration header"

DEVICE_SETTINGS = (
    Field("max_payload_bytes", "int", "bytes", "largest packet that it sends (MaxPayload); needs root"),
    Field("max_payload_able_bytes", "int", "bytes", "largest packet that it could send; needs root"),
    Field("max_read_request_bytes", "int", "bytes", "largest read that it asks for (MaxReadReq); needs root"),
    Field("relaxed_ordering", "bool", "", "it may use relaxed ordering; needs root"),
    Field("extended_tags", "bool", "", "it may have 256 requests under way; needs root"),
    Field("ten_bit_tags", "bool", "", "it may have 768 requests under way (10-bit tags); needs root"),
    Field("ats", "bool", "", "address translation service is on; none without it; needs root"),
    Field("resizable_bar_mib", "int", "MiB", "size of its largest resizable BAR now; none without one; needs root"),
    Field("resizable_bar_max_mib", "int", "MiB", "largest size that this BAR could have; needs root"),
)
BRIDGE_SETTINGS = (
    *DEVICE_SETTINGS[:2],
    Field("acs_source_validation", "bool", "", "ACS checks who sends; none without ACS; needs root"),
    Field("acs_redirect", "bool", "", "ACS sends peer traffic up to the root; none without ACS; needs root"),
)
_NAMES = {
    bridge: tuple(one.name for one in fields) for bridge, fields in ((False, DEVICE_SETTINGS), (True, BRIDGE_SETTINGS))
}

_LINE = re.compile(
    r"([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) vendor=([0-9]{1,5})((?: [a-z]+=[0-9,]{1,80}){0,12})"
)
_ITEM = re.compile(r" ([a-z]+)=([0-9,]+)")
Registers = dict[str, list[list[int]]]
_ALL_ONES = 0xFFFF
_PORTS = {4: "root", 5: "upstream", 6: "downstream"}
_PCIE_WORDS = 6
_MAX_SIZE_EXPONENT = 43


@dataclass
class Config:
    """What was read.

    Attributes:
        registers: by address: name of a capability -> the numbers of each time that it came.
        answers: by address: whether the device can be read at all.
        ports: by address: root, upstream or downstream, for bridges that say so.
        trouble: why the registers are not known; empty when they are.
    """

    registers: dict[str, Registers] = field(default_factory=dict)
    answers: dict[str, bool] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


def read_config(reply: SourceReply) -> Config:
    """The registers that the source sent, or why there are none."""
    config = Config()
    space, header = reply.find("cmd", SPACE), reply.find("cmd", HEADER)
    if space is None:
        config.trouble = "the configuration space was not read (no od or awk on the node, or no PCIe device)"
    elif space.rc != 0:
        config.trouble = command_trouble(space)
    for section in (header, space):
        if section is None or section.rc != 0:
            continue
        for line in section.text.split("\n"):
            match = _LINE.fullmatch(line)
            if match is None:
                continue
            config.answers[match[1]] = int(match[2]) != _ALL_ONES
            if section is space:
                config.registers[match[1]] = _registers(match[3])
    for address, registers in config.registers.items():
        pcie = registers.get("pcie", [[]])[0]
        if len(pcie) == _PCIE_WORDS and (pcie[0] >> 4 & 0xF) in _PORTS:
            config.ports[address] = _PORTS[pcie[0] >> 4 & 0xF]
    return config


def _registers(text: str) -> Registers:
    found: Registers = {}
    for name, numbers in _ITEM.findall(text):
        found.setdefault(name, []).append([int(number) for number in numbers.split(",") if number])
    return found


def settings(config: Config, address: str, *, bridge: bool) -> tuple[Row, dict[str, str]]:
    """(fields of a row, why fields could not be read) of one device or bridge."""
    names = _NAMES[bridge]
    row: Row = dict.fromkeys(names)
    registers = config.registers.get(address)
    if registers is None or config.answers.get(address) is False:
        why = "it does not answer on the bus" if config.answers.get(address) is False else config.trouble
        return row, dict.fromkeys(names, why or "its configuration space was not read")
    found = _acs(registers) if bridge else _of_device(registers)
    pcie = registers.get("pcie", [[]])[0]
    if len(pcie) == _PCIE_WORDS:
        found["max_payload_bytes"] = 128 << (pcie[2] >> 5 & 7)
        found["max_payload_able_bytes"] = 128 << (pcie[1] & 7)
    return row | found, {}


def _acs(registers: Registers) -> Row:
    acs = registers.get("acs", [[]])[0]
    return {"acs_source_validation": bool(acs[1] & 0x01), "acs_redirect": bool(acs[1] & 0x0C)} if len(acs) == 2 else {}


def _of_device(registers: Registers) -> Row:
    row: Row = {}
    pcie = registers.get("pcie", [[]])[0]
    if len(pcie) == _PCIE_WORDS:
        _flags, _able, control, _link, able2, control2 = pcie
        row["max_read_request_bytes"] = 128 << (control >> 12 & 7)
        row["relaxed_ordering"] = bool(control & 0x10)
        row["extended_tags"] = bool(control & 0x100)
        row["ten_bit_tags"] = bool(control2 & 0x1000) if able2 & 0x20000 else None
    ats = registers.get("ats", [[]])[0]
    if len(ats) == 1:
        row["ats"] = bool(ats[0] & 0x8000)
    sizes = [_bar(*numbers) for numbers in registers.get("rebar", []) if len(numbers) == 2]
    if sizes:
        row["resizable_bar_mib"], row["resizable_bar_max_mib"] = max(sizes, key=lambda size: size[1])
    return row


def _bar(able: int, control: int) -> tuple[int, int]:
    """(MiB now, MiB at most) of a resizable BAR. Size n stands for 2^n MiB."""
    now = control >> 8 & 0x3F
    sizes = [bit for bit in range(28) if able >> (bit + 4) & 1] + [
        28 + bit for bit in range(16) if control >> (bit + 16) & 1
    ]
    return 1 << min(now, _MAX_SIZE_EXPONENT), 1 << max(sizes, default=min(now, _MAX_SIZE_EXPONENT))
