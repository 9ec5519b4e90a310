"""The text of a report, letter by letter."""

from __future__ import annotations

import pytest

from nodectl.model import (
    REPORT_SCHEMA,
    CatalogueId,
    CheckReport,
    Document,
    Finding,
    Message,
    NodeReport,
    NodeState,
    Outcome,
    Reason,
    Report,
    Severity,
    Summary,
    Tool,
)
from nodectl.report.build import summarise
from nodectl.view.findings import report_lines


def text(report: Report, *, width: int = 80, verbose: bool = False) -> str:
    lines = ("".join(part for _, part in line).rstrip() for line in report_lines(report, width=width, verbose=verbose))
    return "\n".join(lines)


def node(name: str, reason: Reason | None = None, address: str = "") -> NodeReport:
    state = NodeState.UNREACHABLE if reason else NodeState.REACHED
    return NodeReport(
        name=name, address=address or name, state=state, reason=reason, started="", duration_ms=1, host_key="", facts={}
    )


def check(name: str, severity: Severity, title: str) -> CheckReport:
    source = Document(title="Driver Persistence", url="https://docs.example.org/persistence", retrieved="2026-11-20")
    return CheckReport(
        id=name, title=title, area=name.partition(".")[0], severity=severity, why="Because it matters.",
        sources=(source,), fix="step service_enable",
    )  # fmt: skip


def finding(name: str, of: str, outcome: Outcome, severity: Severity, **more: str) -> Finding:
    return Finding(node=name, check=of, outcome=outcome, severity=severity, **more)


@pytest.fixture
def report() -> Report:
    high, low = Severity.HIGH, Severity.LOW
    fail, unknown = Outcome.FAIL, Outcome.UNKNOWN
    findings = [
        *(
            finding(f"gpu-{n:03}", "gpu.persistence", fail, high, subject=f"GPU {g}", expected="on", actual="off")
            for n in (1, 2, 17)
            for g in range(8)
        ),
        finding(
            "gpu-003", "gpu.persistence", fail, high, subject="GPU 5", expected="on", actual="off", reason="since boot"
        ),
        finding("gpu-001", "kernel.swappiness", fail, low, expected="at most 10", actual="60"),
        *(
            finding("gpu-004", f"gpu.c{n:02}", unknown, high, reason="nvidia-smi did not end within 40 s")
            for n in range(20)
        ),
        finding("gpu-004", "xid.fault", unknown, high, reason="needs root: dmesg"),
        finding("gpu-001", "driver.loaded", Outcome.PASS, high, actual="580.159.04"),
    ]  # fmt: skip
    lost = [
        node(f"down{n}", Reason("refused", f"down{n} ({ip} port 22): nothing listens", f"ssh {ip}"), ip)
        for n, ip in ((1, "10.0.0.1"), (2, "10.0.0.2"))
    ]  # fmt: skip
    nodes = [*(node(f"gpu-{n:03}") for n in (1, 2, 3, 4, 17)), *lost]
    return Report(
        schema=REPORT_SCHEMA,
        report_id="x",
        created="2026-11-20T00:00:00Z",
        tool=Tool("nodectl", "0"),
        catalogue=CatalogueId("1", "sha256:0"),
        profile="default",
        argv=(),
        exit_code=1,
        partial=True,
        fail_on=Severity.MEDIUM,
        summary=no_counts(),
        nodes=tuple(nodes),
        checks=(
            check("gpu.persistence", high, "Persistence mode is on for every GPU"),
            check("kernel.swappiness", low, "Swapping is kept low"),
            check("driver.loaded", high, "The driver is loaded"),
        ),
        results=tuple(findings),
        fleet=(),
        messages=(Message("warning", "2 lines of known_hosts were skipped"),),
    )


def no_counts() -> Summary:
    return summarise([])


GOLDEN = """\
X high     gpu.persistence
  Persistence mode is on for every GPU
    gpu-[001-002,017]  GPU 0-7: off
    gpu-003  GPU 5: off; since boot
    expected  on
    source    Driver Persistence, https://docs.example.org/persistence
    fix       step service_enable

1 smaller finding  (in full: -v, or nodectl checks show ID)
! kernel.swappiness  Swapping is kept low
    gpu-001  60 (expected at most 10)

? unknown  21 checks could not be told (never counted as a pass)
    gpu-004  nvidia-smi did not end within 40 s
      20 checks: gpu.c00, gpu.c01, gpu.c02, gpu.c03, gpu.c04, gpu.c05, gpu.c06,
      ...
    gpu-004  needs root: dmesg
      xid.fault

@ unreachable  2 nodes gave no reply
    down[1-2]  refused: nothing listens
      try  ssh ADDRESS

by node
X   gpu-[001-003,017]  gpu.persistence

warning: 2 lines of known_hosts were skipped
7 nodes
3 checks (default): none could be made
interrupted: this report is partial"""


def test_golden_at_80_columns(report: Report) -> None:
    assert text(report) == GOLDEN


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal_but_for_what_cannot_be_broken(report: Report, width: int) -> None:
    for line in text(report, width=width, verbose=True).splitlines():
        assert len(line) <= width or "http" in line or len(line.split()) <= 3, line


def test_verbose_names_every_unknown_check_and_the_passes(report: Report) -> None:
    said = text(report, verbose=True)
    assert all(f"gpu.c{n:02}" in said for n in range(20))
    assert "driver.loaded" in said
    assert "smaller finding" not in said
    assert "Because it matters." in said
