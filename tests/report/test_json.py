"""The report as JSON: its schema, its order, and that it can be read back."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

import nodectl.report
from nodectl.engine import catalogue_for_run
from nodectl.model import Finding, NodeResult, NodeState, Outcome, Reason, Report, Severity, absent, error, present
from nodectl.report.build import build_report, node_outcome, summarise
from nodectl.report.json import decode, encode, schema

SHIPPED = Path(nodectl.report.__file__).with_name("report-1.schema.json")


def finding(node: str, check: str, outcome: Outcome, **more: object) -> Finding:
    values: dict[str, object] = {"severity": Severity.HIGH} | more
    return Finding(node=node, check=check, outcome=outcome, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def results() -> list[NodeResult]:
    return [
        NodeResult(
            node="gpu10",
            address="10.0.0.10",
            state=NodeState.REACHED,
            facts={
                "gpu.count": present("gpu.count", 8, source="nvidia_smi_q", rc=0),
                "module[nouveau]": absent("module[nouveau]", "not loaded"),
                "xid.events": error("xid.events", "needs root"),
            },
            findings=(
                finding("gpu10", "gpu.persistence", Outcome.FAIL, subject="GPU 3", expected="on", actual="off"),
                finding("gpu10", "gpu.persistence", Outcome.UNKNOWN, subject="GPU 4", reason="[Unknown Error]"),
                finding("gpu10", "driver.loaded", Outcome.PASS),
            ),
        ),
        NodeResult(
            node="gpu9", address="", state=NodeState.UNREACHABLE, reason=Reason("auth", "key refused", "ssh-add")
        ),
        NodeResult(
            node="gpu11",
            address="",
            state=NodeState.REACHED,
            findings=(finding("gpu11", "driver.loaded", Outcome.FAIL, waived_by="ops until 2027-01-01: planned"),),
        ),
    ]


@pytest.fixture(scope="module")
def report(results: list[NodeResult]) -> Report:
    catalogue = catalogue_for_run.load()
    from nodectl.catalogue import select

    selection = select(catalogue, "default", areas=["driver"])
    return build_report(results, catalogue, [selection], argv=["check"], exit_code=1)


def test_shipped_schema_is_the_schema_of_the_code() -> None:
    assert SHIPPED.read_bytes() == schema(), "regenerate it: nodectl.report.json.schema()"


def test_a_report_is_valid_and_reads_back(report: Report) -> None:
    document = encode(report)
    jsonschema.validate(msgspec.json.decode(document), msgspec.json.decode(SHIPPED.read_bytes()))
    assert encode(decode(document)) == document
    assert msgspec.json.decode(encode(report, pretty=True)) == msgspec.json.decode(document)


def test_unknown_keys_of_a_later_minor_are_ignored(report: Report) -> None:
    document = msgspec.json.decode(encode(report)) | {"added_later": 1}
    assert decode(msgspec.json.encode(document)) == report


def test_nodes_and_results_are_in_natural_order(report: Report) -> None:
    assert [node.name for node in report.nodes] == ["gpu9", "gpu10", "gpu11"]
    assert [(f.node, f.check, f.subject) for f in report.results] == [
        ("gpu10", "driver.loaded", ""),
        ("gpu10", "gpu.persistence", "GPU 3"),
        ("gpu10", "gpu.persistence", "GPU 4"),
        ("gpu11", "driver.loaded", ""),
    ]


def test_facts_keep_their_three_states(report: Report) -> None:
    facts = msgspec.json.decode(encode(report))["nodes"][1]["facts"]
    assert facts["gpu.count"] == {"name": "gpu.count", "state": "value", "value": 8, "source": "nvidia_smi_q", "rc": 0}
    assert facts["module[nouveau]"]["state"] == "absent"
    assert facts["xid.events"] == {"name": "xid.events", "state": "error", "reason": "needs root"}


def test_summary_counts_each_check_of_a_node_once_by_its_worst(results: list[NodeResult]) -> None:
    summary = summarise(results)
    assert msgspec.to_builtins(summary.nodes) == {"ok": 1, "failed": 1, "unknown": 0, "unreachable": 1}
    assert summary.outcomes == {"pass": 1, "fail": 1, "unknown": 0, "not_applicable": 0, "waived": 1}
    assert summary.severities == {"critical": 0, "high": 1, "medium": 0, "low": 0, "info": 0}


def test_lesser_findings_than_asked_for_do_not_make_a_node_fail() -> None:
    low = finding("n", "a.b", Outcome.FAIL, severity=Severity.LOW)
    node = NodeResult(node="n", address="", state=NodeState.REACHED, findings=(low,))
    assert node_outcome(node, Severity.MEDIUM) is Outcome.PASS
    assert node_outcome(node, Severity.LOW) is Outcome.FAIL
