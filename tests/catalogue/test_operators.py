"""Each operator on values, absent facts, errors and values of the wrong type: the answer and its words."""

from __future__ import annotations

from typing import Any

import pytest
from small_catalogue import compiled, context, facts_of

from nodectl.catalogue.model import Param
from nodectl.catalogue.truth import FALSE, NOT_APPLICABLE, TRUE, UNKNOWN, Truth

BROKEN = Exception("timed out")
# expectation, facts, answer, expected text, actual text
CASES: list[tuple[str, dict[str, Any], Truth, str, str]] = [
    ("{fact: virt.is_vm, is: true}", {"virt__is_vm": True}, TRUE, "yes", "yes"),
    ("{fact: virt.is_vm, is: false}", {"virt__is_vm": True}, FALSE, "no", "yes"),
    ("{fact: os.id, as: bool, is: true}", {"os__id": "Y"}, TRUE, "yes", "Y"),
    ("{fact: gpu.count, eq: 8}", {"gpu__count": 8}, TRUE, "8", "8"),
    ("{fact: gpu.count, eq: 8}", {"gpu__count": 7}, FALSE, "8", "7"),
    ("{fact: gpu.count, eq: {fact: expect.gpus}}", {"gpu__count": 7, "expect__gpus": 8}, FALSE,
     "equal to expect.gpus (8)", "7"),
    ("{fact: os.id, ne: debian}", {"os__id": "ubuntu"}, TRUE, "not debian", "ubuntu"),
    ("{fact: driver.version, ge: '570.124.06'}", {"driver__version": "570.86.15"}, FALSE,
     "at least 570.124.06", "570.86.15"),
    ("{fact: driver.version, gt: '570.86'}", {"driver__version": "570.86.15"}, TRUE, "more than 570.86", "570.86.15"),
    ("{fact: driver.version, lt: '580'}", {"driver__version": "580.0"}, FALSE, "less than 580", "580.0"),
    ("{fact: kernel.release, as: kernel, le: '6.8'}", {"kernel__release": "6.8.0-45-generic"}, TRUE,
     "at most 6.8", "6.8.0-45-generic"),
    ("{fact: mem.total_mib, ge: 1024}", {"mem__total_mib": 512}, FALSE, "at least 1024 MiB", "512 MiB"),
    ("{fact: os.id, as: bytes, ge: 1G}", {"os__id": "900M"}, FALSE, "at least 1G", "900M"),
    ("{fact: os.id, one_of: [rhel, rocky]}", {"os__id": "rocky"}, TRUE, "one of rhel, rocky", "rocky"),
    ("{fact: os.id, one_of: [rhel]}", {"os__id": "sles"}, FALSE, "rhel", "sles"),
    ("{fact: driver.version, one_of: ['580.0', '570']}", {"driver__version": "580"}, TRUE, "one of 580.0, 570", "580"),
    ("{fact: os.id, none_of: [rhel, rocky]}", {"os__id": "rocky"}, FALSE, "none of rhel, rocky", "rocky"),
    ("{fact: gpu.models, contains: H200}", {"gpu__models": ["H100", "H200"]}, TRUE, "contains H200", "H100, H200"),
    ("{fact: gpu.models, contains: [H100, B200]}", {"gpu__models": ["H100"]}, FALSE, "contains H100, B200", "H100"),
    ("{fact: kernel.release, contains: nvidia}", {"kernel__release": "6.8.0-1-nvidia"}, TRUE,
     "contains nvidia", "6.8.0-1-nvidia"),
    ("{fact: gpu.models, contains_none: [A100, H100]}", {"gpu__models": ["H100"]}, FALSE,
     "none of A100, H100", "H100"),
    ("{fact: gpu.models, contains_none: [A100]}", {"gpu__models": []}, TRUE, "none of A100", "none"),
    ("{fact: gpu.models, subset_of: [H100, H200]}", {"gpu__models": ["H200"]}, TRUE, "only H100, H200", "H200"),
    ("{fact: gpu.models, subset_of: [H100]}", {"gpu__models": ["H200"]}, FALSE, "only H100", "H200"),
    ("{fact: os.id, matches: 'rh.*'}", {"os__id": "rhel"}, TRUE, "beginning with rh", "rhel"),
    ("{fact: os.id, matches: 'rh'}", {"os__id": "rhel"}, FALSE, "matching rh", "rhel"),
    ("{fact: os.id, present: true}", {"os__id": "rhel"}, TRUE, "present", "rhel"),
    ("{fact: os.id, present: true}", {"os__id": None}, FALSE, "present", "absent"),
    ("{fact: os.id, present: false}", {"os__id": None}, TRUE, "absent", "absent"),
    ("{fact: os.id, present: false}", {"os__id": "rhel"}, FALSE, "absent", "rhel"),
    ("{fact: gpu.models, not_empty: true}", {"gpu__models": []}, FALSE, "not empty", "none"),
    ("{fact: gpu.devices, not_empty: false}", {"gpu__devices": [{"index": 0}]}, FALSE, "empty", "1 row"),
    ("{fact: os.id, not_empty: true}", {"os__id": "  "}, FALSE, "not empty", '""'),
    ("{fact: load.one, within: {value: 10, tolerance: 1}}", {"load__one": 11.0}, TRUE, "10 ± 1", "11"),
    ("{fact: mem.total_mib, within: {value: 1000, tolerance: '2%'}}", {"mem__total_mib": 979}, FALSE,
     "1000 MiB ± 2 %", "979 MiB"),
    ("{fact: gpu.models, eq: [a, b]}", {"gpu__models": ["a", "b"]}, TRUE, "a, b", "a, b"),
    ("{fact: gpu.models, eq: [a, b]}", {"gpu__models": ["b", "a"]}, FALSE, "a, b", "b, a"),
    ("{fact: 'service[x]', field: active_state, eq: active}", {"service[x]": {"active_state": "failed"}}, FALSE,
     "active", "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("expectation", "facts", "truth", "expected", "actual"), CASES)
def test_compares(expectation: str, facts: dict[str, Any], truth: Truth, expected: str, actual: str) -> None:
    leaf = compiled(expectation)
    verdict = leaf.explain(context(facts_of(**facts)))
    assert (verdict.truth, verdict.expected, verdict.actual) == (truth, expected, actual)
    assert leaf.test(context(facts_of(**facts))) is truth


# pattern, in words
PATTERNS = [
    ("Vulnerable.*", "beginning with Vulnerable"),
    (".*-generic", "ending with -generic"),
    (".*lost.*", "containing lost"),
    (r"15b3:\.x.*", "beginning with 15b3:.x"),
    ("rhel", "matching rhel"),
    ("rh.l.*", "matching rh.l.*"),
    (r"\d+.*", r"matching \d+.*"),
    ("(.*,)?pt(,.*)?", "matching (.*,)?pt(,.*)?"),
    ("a|b.*", "matching a|b.*"),
    ("ab?.*", "matching ab?.*"),
]


@pytest.mark.parametrize(("pattern", "words"), PATTERNS)
def test_a_plain_pattern_is_said_in_words(pattern: str, words: str) -> None:
    assert compiled({"fact": "os.id", "matches": pattern}).expected(None) == words
    assert compiled({"not": {"fact": "os.id", "matches": pattern}}).expected(None) == f"not {words}"


# expectation, the words of its negation
OPPOSITES = [
    ("{fact: virt.is_vm, is: true}", "no"),
    ("{fact: virt.is_vm, is: {fact: expect.gpus}}", "not expect.gpus"),
    ("{fact: gpu.count, eq: 8}", "not 8"),
    ("{fact: gpu.count, ne: 8}", "8"),
    ("{fact: gpu.count, eq: {fact: expect.gpus}}", "not expect.gpus"),
    ("{fact: gpu.count, ne: {fact: expect.gpus}}", "equal to expect.gpus"),
    ("{fact: gpu.count, ge: 4}", "less than 4"),
    ("{fact: gpu.count, gt: 4}", "at most 4"),
    ("{fact: gpu.count, le: 4}", "more than 4"),
    ("{fact: gpu.count, lt: 4}", "at least 4"),
    ("{fact: os.id, one_of: [rhel, sles]}", "none of rhel, sles"),
    ("{fact: os.id, one_of: [rhel]}", "not rhel"),
    ("{fact: os.id, none_of: [rhel, sles]}", "one of rhel, sles"),
    ("{fact: gpu.models, contains: [H100]}", "not containing H100"),
    ("{fact: gpu.models, contains_none: [A100, H100]}", "any of A100, H100"),
    ("{fact: gpu.models, subset_of: [H100]}", "not only H100"),
    ("{fact: os.id, present: true}", "absent"),
    ("{fact: os.id, present: false}", "present"),
    ("{fact: os.id, not_empty: true}", "empty"),
    ("{fact: os.id, not_empty: false}", "not empty"),
    ("{fact: load.one, within: {value: 10, tolerance: 1}}", "not 10 ± 1"),
    ("{any: [{fact: os.id, eq: rhel}, {fact: gpu.count, ge: 1}]}", "not (os.id rhel or gpu.count at least 1)"),
    ("{all: [{fact: os.id, eq: rhel}, {fact: gpu.count, ge: 1}]}", "not (os.id rhel, gpu.count at least 1)"),
]


@pytest.mark.parametrize(("expectation", "words"), OPPOSITES)
def test_a_negation_is_said_in_plain_words(expectation: str, words: str) -> None:
    plain, negated, twice = (compiled(one.format(expectation)) for one in ("{}", "{{not: {}}}", "{{not: {{not: {}}}}}"))
    assert negated.expected(None) == words
    assert twice.expected(None) == plain.expected(None)
    assert twice.expected(None, named=True) == plain.expected(None, named=True)
    if not words.startswith("not ("):
        name = plain.expected(None, named=True).removesuffix(plain.expected(None))
        assert negated.expected(None, named=True) == f"{name}{words}"


UNREADABLE: list[tuple[str, dict[str, Any], str]] = [
    ("{fact: gpu.count, eq: 8}", {"gpu__count": BROKEN}, "gpu.count: timed out"),
    ("{fact: gpu.count, eq: 8}", {}, "gpu.count was not gathered"),
    ("{fact: gpu.count, eq: 8}", {"gpu__count": "eight"}, 'gpu.count: "eight" is not a whole number'),
    ("{fact: gpu.count, eq: 8}", {"gpu__count": True}, "gpu.count: yes is not a whole number"),
    ("{fact: gpu.count, eq: {fact: expect.gpus}}", {"gpu__count": 8, "expect__gpus": BROKEN},
     "expect.gpus: timed out"),
    ("{fact: gpu.count, eq: {fact: expect.gpus}}", {"gpu__count": 8, "expect__gpus": None}, "expect.gpus: not there"),
    ("{fact: gpu.count, eq: {fact: expect.gpus}}", {"gpu__count": 8, "expect__gpus": "all"},
     'expect.gpus: "all" is not a whole number'),
    ("{fact: driver.version, ge: '570'}", {"driver__version": "N/A"}, 'driver.version: "N/A" is not a version'),
    ("{fact: os.id, present: true}", {"os__id": BROKEN}, "os.id: timed out"),
    ("{fact: os.id, present: false}", {"os__id": BROKEN}, "os.id: timed out"),
    ("{fact: os.id, one_of: [a]}", {"os__id": ["a"]}, "os.id: a is not text"),
    ("{fact: gpu.models, not_empty: true}", {"gpu__models": BROKEN}, "gpu.models: timed out"),
    ("{fact: gpu.models, not_empty: true}", {"gpu__models": 3}, "gpu.models: 3 is not a list, a table or text"),
    ("{fact: gpu.models, subset_of: [a]}", {"gpu__models": [{"a": 1}]}, "gpu.models: a 1 is not a plain value"),
    ("{fact: os.id, matches: a}", {"os__id": "a" * 5000}, "os.id: 5000 characters are too many to match"),
    ("{fact: load.one, within: {value: 1, tolerance: 1}}", {"load__one": "high"}, 'load.one: "high" is not a number'),
    ("{fact: 'service[x]', field: active_state, eq: a}", {"service[x]": {"_errors": {"active_state": "bus is gone"}}},
     "service[x] active_state: bus is gone"),
    ("{fact: 'service[x]', field: active_state, eq: a}", {"service[x]": "text"},
     "service[x] active_state: text has no fields"),
    ("{not: {fact: gpu.count, eq: 8}}", {"gpu__count": BROKEN}, "gpu.count: timed out"),
]  # fmt: skip


@pytest.mark.parametrize(("expectation", "facts", "reason"), UNREADABLE)
def test_what_cannot_be_told_is_unknown_with_the_reason(expectation: str, facts: dict[str, Any], reason: str) -> None:
    verdict = compiled(expectation).explain(context(facts_of(**facts)))
    assert (verdict.truth, verdict.reason) == (UNKNOWN, reason)


@pytest.mark.parametrize(
    ("word", "truth"), [("fail", FALSE), ("unknown", UNKNOWN), ("not_applicable", NOT_APPLICABLE), (None, UNKNOWN)]
)
@pytest.mark.parametrize(
    "operator", ["eq: a", "ne: a", "one_of: [a]", "none_of: [a]", "contains: a", "matches: a", "not_empty: true"]
)
def test_an_absent_fact_is_what_the_check_says(word: str | None, truth: Truth, operator: str) -> None:
    said = f", if_absent: {word}" if word else ""
    leaf = compiled(f"{{fact: os.id, {operator}{said}}}")
    assert leaf.test(context(facts_of(os__id=None))) is truth
    assert leaf.test(context(facts_of(os__id=BROKEN))) is UNKNOWN


def test_a_parameter_is_shown_by_its_value() -> None:
    params = {"least": Param(name="least", type="int", default=4)}
    verdict = compiled("{fact: gpu.count, ge: {param: least}}", params=params).explain(
        context(facts_of(gpu__count=2), least=4)
    )
    assert (verdict.truth, verdict.expected) == (FALSE, "at least 4")


LOOKUPS: list[tuple[str, Any, Truth, str]] = [
    ("key: {fact: os.id}, column: memory_mib", "10de:2335", FALSE, "at least 143771 (table models: 10de:2335)"),
    ("key: {fact: os.id}, column: memory_mib", "10DE:2330", TRUE, "at least 81559 (table models: 10DE:2330)"),
    ("key: {fact: os.id}, column: memory_mib", "10de:9999", UNKNOWN, "at least memory_mib of table models"),
    ("key: {fact: os.id}, column: memory_mib, if_missing: not_applicable", "10de:9999", NOT_APPLICABLE,
     "at least memory_mib of table models"),
    ("key: {fact: os.id}, column: memory_mib", "12.8", UNKNOWN, "at least memory_mib of table models"),
    ("key: {fact: os.id}, column: memory_mib", BROKEN, UNKNOWN, "at least memory_mib of table models"),
    ("key: {fact: os.id}, column: memory_mib", ["x", {}], UNKNOWN, "at least memory_mib of table models"),
]  # fmt: skip


@pytest.mark.parametrize(("lookup", "key", "truth", "expected"), LOOKUPS)
def test_looks_up_in_a_table(lookup: str, key: Any, truth: Truth, expected: str) -> None:
    leaf = compiled(f"{{fact: gpu.count, ge: {{lookup: models, {lookup}}}}}")
    verdict = leaf.explain(context(facts_of(gpu__count=100000, os__id=key)))
    assert (verdict.truth, verdict.expected) == (truth, expected)
    if truth is UNKNOWN:
        assert verdict.reason


def test_cuts_a_version_before_it_looks_it_up() -> None:
    leaf = compiled(
        "{fact: driver.version, ge: {lookup: models, key: {fact: os.id}, key_as: major.minor, column: driver_min}}"
    )
    verdict = leaf.explain(context(facts_of(driver__version="565.57.01", os__id="12.8.1")))
    assert (verdict.truth, verdict.expected) == (FALSE, "at least 570.26 (table models: 12.8)")
    verdict = leaf.explain(context(facts_of(driver__version="565.57.01", os__id="12")))
    assert (verdict.truth, verdict.reason) == (UNKNOWN, 'os.id: "12" has not 2 numbers to look up')
