"""The plain values that flow through nodectl, left to right.

    Node -> (transport, probe) -> transcript -> Fact -> (engine) -> Finding -> NodeResult -> Report

Nothing here imports anything else of nodectl. Every value is immutable and can be encoded as JSON by msgspec.
Times are RFC 3339 UTC text, durations are milliseconds (`_ms`) or seconds (`_s`).
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

REPORT_SCHEMA = "nodectl.report/1"
TRANSCRIPT_SCHEMA = "nodectl.transcript/1"


class Severity(str, enum.Enum):
    """How much a failed check matters. `rank` grows with it."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        return _SEVERITY_RANK[self]


_SEVERITY_RANK = {severity: rank for rank, severity in enumerate(reversed(list(Severity)))}


class Outcome(str, enum.Enum):
    """What a check found out. `waived` is no outcome: it lies over one (Finding.waived_by)."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"

    @property
    def rank(self) -> int:
        """Order from best to worst, to roll many outcomes up into one."""
        return _OUTCOME_RANK[self]


_OUTCOME_RANK = {Outcome.NOT_APPLICABLE: 0, Outcome.PASS: 1, Outcome.UNKNOWN: 2, Outcome.FAIL: 3}


class FactState(str, enum.Enum):
    """A fact is a value, or known to be absent, or could not be looked at. These never turn into one another."""

    VALUE = "value"
    ABSENT = "absent"
    ERROR = "error"


class NodeState(str, enum.Enum):
    REACHED = "reached"
    UNREACHABLE = "unreachable"


class Unreachable(str, enum.Enum):
    """Why a node gave no reply: each way of not getting in is its own state."""

    DNS = "dns"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    NO_ROUTE = "no_route"
    AUTH = "auth"
    HOST_KEY_UNKNOWN = "host_key_unknown"
    HOST_KEY_CHANGED = "host_key_changed"
    PROXY_FAILED = "proxy_failed"
    PROTOCOL = "protocol"
    CLOSED = "closed_during_probe"
    PROBE_FAILED = "probe_failed"
    CANCELLED = "cancelled"


class Reason(msgspec.Struct, frozen=True):
    """Why something did not work, for a person: what failed, and what to do next."""

    code: str
    text: str
    hint: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One machine of the inventory, as the transport needs it.

    Attributes:
        name: what the user calls it; unique in a run, and what every report line says.
        address: host name or IP address to connect to; empty means `name`, resolved through the user's ssh config.
        port, user: None means what the user's ssh config says (22 and the local user by default).
        identity_files: private keys to offer, in order; empty means ssh config, agent and the default key files.
        jump: ProxyJump value (`user@bastion:22`, comma-separated for several hops); None means what ssh config says.
        transport: `ssh`, `openssh`, `local` or `replay`.
        expect: what this node should be (`gpus`, `model`, ...), seen by checks as the facts `expect.KEY`.
        origin: `file:line` that declared it, or the option that named it.
    """

    name: str
    address: str = ""
    port: int | None = None
    user: str | None = None
    identity_files: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] = ()
    jump: str | None = None
    transport: str = "ssh"
    profile: str | None = None
    groups: tuple[str, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    expect: dict[str, Any] = msgspec.field(default_factory=dict)
    origin: str = ""


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing known, or not known, about a node.

    Attributes:
        name: as in the registry, e.g. `driver.version` or `sysctl[vm.swappiness]`.
        value: JSON-like; a table fact (`gpu.devices`) is a list of rows (dicts). In a row a field is a value, or None
            where the device says that it has no such thing, or named in the row's `_errors` ({field: text}) where it
            could not be read.
        reason: why it is absent or an error.
        source: the probe source that was asked.
        command: what was run or read on the node, for a person to repeat.
    """

    name: str
    state: FactState
    value: Any = None
    reason: str = ""
    source: str = ""
    command: str = ""
    rc: int | None = None
    duration_ms: int | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document that says so."""

    title: str
    url: str
    retrieved: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says of one node, or of one part of it (`subject`: "GPU 3", "mlx5_0/1")."""

    node: str
    check: str
    subject: str = ""
    outcome: Outcome
    severity: Severity
    expected: str = ""
    actual: str = ""
    reason: str = ""
    facts: tuple[str, ...] = ()
    waived_by: str = ""


class ValueCount(msgspec.Struct, frozen=True):
    """One value of a fact in a group of nodes. `value` is None where the fact is absent."""

    value: Any
    nodes: tuple[str, ...]


class FleetFinding(Finding, frozen=True, kw_only=True):
    """What a fleet rule says: nodes that differ from the others like them, or what must not be there twice.

    Attributes:
        node: empty; the nodes are in `nodes`.
        subject: what is compared (`sysctl[vm.swappiness]`, `gpu.devices.vbios_version`), or the rack.
        group: the hardware class in which nodes were compared; empty where a rule looks at all nodes.
        nodes: who differs; where there is no clear majority, everybody who could be compared.
        value: what these nodes have; None where the fact is absent on them, or where there is no clear majority.
        majority, majority_nodes: what most have, and how many; None and 0 where there is no clear majority.
        compared: how many nodes could be compared. untold: of how many it could not be told.
        values: where there is no clear majority, and where something is there twice: the values with their nodes.
        majority_fails: checks that read the same and that most nodes of the majority fail: it is no model then.
        told_by: checks that read the same and that all of `nodes` fail.
    """

    group: str = ""
    nodes: tuple[str, ...] = ()
    value: Any = None
    majority: Any = None
    majority_nodes: int = 0
    compared: int = 0
    untold: int = 0
    values: tuple[ValueCount, ...] = ()
    majority_fails: tuple[str, ...] = ()
    told_by: tuple[str, ...] = ()


class FleetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of one hardware class, by what makes them comparable. Too few are not compared."""

    name: str
    nodes: tuple[str, ...]
    compared: bool


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run learnt about one node."""

    node: str
    address: str
    state: NodeState
    reason: Reason | None = None
    started: str = ""
    duration_ms: int = 0
    host_key: str = ""
    facts: dict[str, Fact] = msgspec.field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A node in a report: what was learnt of it, less its findings, which are the report's `results`."""

    name: str
    address: str
    state: NodeState
    reason: Reason | None
    started: str
    duration_ms: int
    host_key: str
    facts: dict[str, Fact]


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """A check in a report, as it stood in this run (severity after the profile)."""

    id: str
    title: str
    area: str
    severity: Severity
    why: str
    sources: tuple[Document, ...]
    fix: str


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str


class CatalogueId(msgspec.Struct, frozen=True):
    version: str
    digest: str


class NodeCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes by the worst that is known of each, from `fail_on` up: failed before unknown before ok."""

    ok: int
    failed: int
    unknown: int
    unreachable: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a run.

    Attributes:
        outcomes: (node, check) pairs by their worst outcome, `waived` apart.
        severities: failed (node, check) pairs by severity, without the waived.
        fleet: findings over several nodes, by outcome, `waived` apart.
    """

    nodes: NodeCounts
    outcomes: dict[str, int]
    severities: dict[str, int]
    fleet: dict[str, int] = msgspec.field(default_factory=dict)


class Message(msgspec.Struct, frozen=True):
    """Something about the run itself that its reader should know. Level: `info`, `warning` or `error`."""

    level: str
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`nodectl.report/1`: one run, complete. Every other format is rendered from this."""

    schema: str
    report_id: str
    created: str
    tool: Tool
    catalogue: CatalogueId
    profile: str
    argv: tuple[str, ...]
    exit_code: int
    partial: bool
    fail_on: Severity
    summary: Summary
    nodes: tuple[NodeReport, ...]
    checks: tuple[CheckReport, ...]
    results: tuple[Finding, ...]
    fleet: tuple[FleetFinding, ...]
    messages: tuple[Message, ...]
    groups: tuple[FleetGroup, ...] = ()


def present(name: str, value: Any, **origin: Any) -> Fact:
    return Fact(name=name, state=FactState.VALUE, value=value, **origin)


def absent(name: str, reason: str, **origin: Any) -> Fact:
    return Fact(name=name, state=FactState.ABSENT, reason=reason, **origin)


def error(name: str, reason: str, **origin: Any) -> Fact:
    return Fact(name=name, state=FactState.ERROR, reason=reason, **origin)
