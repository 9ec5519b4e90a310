"""Facts that several vendors tell: how declarations and values are put together, and what one failure costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from replies import NODE, cmd

from nodectl.facts import registry as reg
from nodectl.facts.gather import gather
from nodectl.facts.registry import FactNameError, FactSpec, Field, joint, registry, sources_for
from nodectl.model import Fact, FactState, absent, error, present
from nodectl.probe.transcript import SourceReply, write_transcript

INDEX, ECC, XGMI = Field("index", "int"), Field("ecc", "bool"), Field("xgmi", "str")


def _part(name: str, vendor: str, type: str = "rows", fields: Sequence[Field] = (), **more: Any) -> FactSpec:
    return FactSpec(
        name=name, type=type, source=f"src_{vendor}", vendor=vendor, fields=tuple(fields), about="for a test", **more
    )


DEVICES = joint([_part("t.devices", "amd", fields=[INDEX, XGMI]), _part("t.devices", "nvidia", fields=[INDEX, ECC])])
COUNT = joint([_part("t.count", "nvidia", "int"), _part("t.count", "amd", "int")])
MODELS = joint([_part("t.models", "nvidia", "list"), _part("t.models", "amd", "list")])
SOURCES = {"src_nvidia": [cmd("x")], "src_amd": [cmd("y")]}


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the two sources say of t.devices, t.count, t.models: values, or how they come to none."""

    def fact(name: str, value: Any) -> Fact:
        if isinstance(value, Fact):
            return Fact(name=name, state=value.state, reason=value.reason)
        return present(name, value)

    def put(nvidia: tuple[Any, Any, Any], amd: tuple[Any, Any, Any], asked: Sequence[str] = tuple(SOURCES)) -> Any:
        names = ("t.devices", "t.count", "t.models")
        said = {
            source: [fact(name, value) for name, value in zip(names, values, strict=True)]
            for source, values in (("src_nvidia", nvidia), ("src_amd", amd))
        }
        parsers: dict[str, Any] = {
            source: lambda reply, context, facts=tuple(facts): list(facts) for source, facts in said.items()
        }
        specs = {spec.name: spec for spec in (DEVICES, COUNT, MODELS)}
        monkeypatch.setattr(reg, "_tables", lambda: reg._Tables(specs, {}, parsers, {}))
        transcript = write_transcript({source: SOURCES[source] for source in asked})
        return gather(transcript, names, NODE)

    return put


NONE = (absent("x", "no such GPU"),) * 3
BROKEN = (error("x", "amd-smi not found"),) * 3


def test_columns_name_the_vendors_that_have_them() -> None:
    columns = {field.name: field for field in DEVICES.fields}
    assert list(columns) == ["index", "ecc", "xgmi", "vendor"]
    assert [columns[name].vendors for name in columns] == [(), ("nvidia",), ("amd",), ()]
    assert DEVICES.sources == ("src_nvidia", "src_amd")


@pytest.mark.parametrize(
    "other",
    [
        _part("t.devices", "amd", fields=[Field("index", "str")]),
        _part("t.devices", "amd", fields=[Field("index", "int", "W")]),
        _part("t.devices", "amd", "list"),
        _part("t.devices", "amd", "str"),
        _part("t.devices", "nvidia", fields=[INDEX]),
    ],
)
def test_parts_that_do_not_fit_are_refused(other: FactSpec) -> None:
    with pytest.raises(FactNameError):
        joint([_part("t.devices", "nvidia", fields=[INDEX, ECC]), other])


def test_two_vendors_in_one_node(says: Any) -> None:
    facts = says(([{"index": 0, "ecc": True}], 1, ["H200"]), ([{"index": 0, "xgmi": "up"}], 1, ["MI300X", "H200"]))
    assert facts["t.devices"].value == [
        {"vendor": "nvidia", "index": 0, "ecc": True},
        {"vendor": "amd", "index": 0, "xgmi": "up"},
    ]
    assert facts["t.count"].value == 2
    assert facts["t.models"].value == ["H200", "MI300X"]
    assert facts["t.count"].source == "src_nvidia, src_amd"
    assert facts["t.count"].command == "x; y"


def test_a_vendor_that_is_not_there_adds_nothing(says: Any) -> None:
    facts = says(([{"index": 0}], 1, ["H200"]), NONE)
    assert facts["t.devices"].value == [{"vendor": "nvidia", "index": 0}]
    assert facts["t.count"].value == 1
    assert facts["t.count"].source == "src_nvidia"


def test_none_there_is_absent(says: Any) -> None:
    for fact in says(NONE, NONE).values():
        assert fact.state is FactState.ABSENT
        assert fact.reason == "no such GPU"


def test_one_that_could_not_be_asked_makes_the_whole_an_error(says: Any) -> None:
    for fact in (*says(([{"index": 0}], 1, ["H200"]), BROKEN).values(), *says(NONE, BROKEN).values()):
        assert fact.state is FactState.ERROR
        assert fact.reason == "amd-smi not found"
        assert fact.source == "src_amd"


def test_a_source_that_was_cut_makes_the_whole_an_error(says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "src_amd", SourceReply("src_amd", "timeout", (cmd("y", rc=None),)))  # type: ignore[arg-type]
    for fact in says(([{"index": 0}], 1, ["H200"]), NONE).values():
        assert fact.state is FactState.ERROR


def test_a_transcript_of_before_a_vendor_was_known(says: Any) -> None:
    facts = says(([{"index": 0}], 1, ["H200"]), BROKEN, asked=["src_nvidia"])
    assert facts["t.count"].value == 1
    for fact in says(NONE, NONE, asked=[]).values():
        assert fact.state is FactState.ERROR


def test_an_empty_part_is_a_value(says: Any) -> None:
    facts = says(([], 0, []), NONE)
    assert [fact.value for fact in facts.values()] == [[], 0, []]


def test_every_part_of_a_shipped_joint_fact_is_asked() -> None:
    joint_facts = [spec for spec in registry().values() if spec.parts]
    assert {spec.name for spec in joint_facts} >= {"gpu.devices", "gpu.count", "gpu.models"}
    for spec in joint_facts:
        assert set(spec.sources) == set(sources_for([spec.name]))
