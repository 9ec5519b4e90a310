"""What mlnx_qos, dcb (iproute2) and ethtool -a print of an interface's priorities and pause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section

_TRUST = re.compile(r"^Priority trust state: (dscp|pcp|both)\b", re.MULTILINE)
_PFC_HEAD = re.compile(r"^PFC configuration:", re.MULTILINE)
_PFC_ROW = re.compile(r"^[ \t]+enabled:?((?:[ \t]+[01]){8})[ \t]*$", re.MULTILINE)
_DSCP_ROW = re.compile(r"^[ \t]*prio:([0-7]) dscp:([0-9, ]+)", re.MULTILINE)
_DCB_PFC = re.compile(r"^prio-pfc((?: [0-7]:(?:on|off)){8})[ \t]*$", re.MULTILINE)
_DCB_DSCP = re.compile(r"^dscp-prio((?: [A-Za-z0-9-]{1,12}:[0-7])+)[ \t]*$", re.MULTILINE)
_PAUSE = re.compile(r"^(RX|TX):[ \t]+(on|off)[ \t]*$", re.MULTILINE)


def read_mlnx_qos(text: str) -> dict[str, Any]:
    """`trust`, `pfc` (priorities as text) and `dscp_priority` ({dscp: priority}) as mlnx_qos -i prints them.

    What it does not print is None.
    """
    trust, head = _TRUST.search(text), _PFC_HEAD.search(text)
    row = _PFC_ROW.search(text, head.end()) if head else None
    mapped = {
        str(int(dscp)): int(match[1])
        for match in _DSCP_ROW.finditer(text)
        for dscp in match[2].replace(" ", "").split(",")
        if dscp and int(dscp) // 8 != int(match[1])
    }
    return {
        "trust": trust[1] if trust else None,
        "pfc": [str(number) for number, flag in enumerate(row[1].split()) if flag == "1"] if row else None,
        "dscp_priority": mapped or None,
    }


def read_dcb(pfc: Section | None, app: Section | None) -> dict[str, Any]:
    """The same from `dcb pfc show` and `dcb app show`.

    The mlx5 driver trusts DSCP as long as there is a DSCP entry among the applications, and the VLAN's priority else.
    """
    row = _DCB_PFC.search(pfc.text) if pfc is not None and pfc.rc == 0 else None
    found: dict[str, Any] = {"trust": None, "pfc": None, "dscp_priority": None}
    if row is not None:
        found["pfc"] = [pair[0] for pair in row[1].split() if pair.endswith(":on")]
    if app is not None and app.rc == 0 and row is not None:
        entries = _DCB_DSCP.search(app.text)
        found["trust"] = "dscp" if entries else "pcp"
        if entries:
            pairs = (pair.split(":") for pair in entries[1].split())
            found["dscp_priority"] = {_dscp(name): int(prio) for name, prio in pairs}
    return found


def _dscp(name: str) -> str:
    """The number of a code point that iproute2 shows by its name: CS6, AF31, EF."""
    if match := re.fullmatch(r"CS([0-7])", name):
        return str(8 * int(match[1]))
    if match := re.fullmatch(r"AF([1-4])([1-3])", name):
        return str(8 * int(match[1]) + 2 * int(match[2]))
    return {"EF": "46", "VOICE-ADMIT": "44", "LE": "1", "DF": "0"}.get(name, name)


def read_pause(section: Section | None) -> tuple[bool | None, bool | None]:
    """(receiving, sending) as ethtool -a prints them."""
    if section is None or section.rc != 0:
        return None, None
    found = {name: state == "on" for name, state in _PAUSE.findall(section.text)}
    return found.get("RX"), found.get("TX")
