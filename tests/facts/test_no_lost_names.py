"""For every fact that is declared, by whomever: a broken reply gives an error, never a value and never "absent"."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace
from replies import NODE

from nodectl.facts.gather import gather
from nodectl.facts.registry import DERIVED_SOURCE, INVENTORY, FactSpec, registry, sources_for, spec_for, with_needs
from nodectl.model import Fact, FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.clean import clean
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import SourceReply, write_transcript

KEYS = {
    "kernel.arg": "quiet",
    "module": "loop",
    "module_on_disk": "loop",
    "module_param": "printk.time",
    "mount": "/",
    "package": "dpkg",
    "service": "docker",
    "sysctl": "vm.swappiness",
    "driver.param": "EnableMSI",
}
GARBAGE = clean(bytes(range(256)) * 3)
# The user id comes with the start of the reply, not with the text of a source.
NOT_IN_TEXT = ("node.uid",)
BROKEN_STATES = ("timeout", "cut", "too_big", "missing")


def _name(spec: FactSpec) -> str:
    if spec.family is None:
        return spec.name
    key = spec.keys[0] if spec.keys else KEYS.get(spec.family, "some_key")
    return f"{spec.family}[{key}]"


def _from_probe() -> list[str]:
    return sorted(_name(spec) for spec in registry().values() if spec.source not in (INVENTORY, DERIVED_SOURCE))


def _all_names() -> list[str]:
    return sorted([*_from_probe(), *(spec.name for spec in registry().values() if spec.source == DERIVED_SOURCE)])


def _sources(name: str) -> tuple[str, ...]:
    spec = spec_for(name)
    assert spec is not None
    return spec.sources


def _facts(replies: Mapping[str, Any], names: list[str]) -> dict[str, Fact]:
    return gather(write_transcript(dict(replies)), names, NODE)


@pytest.fixture(scope="module")
def real() -> dict[str, SourceReply]:
    """Every source, as this machine answers it."""
    if sys.platform != "linux":
        pytest.skip("the probe's sources are for Linux")
    specs = load_sources()
    asked = sources_for(_from_probe())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {name: pool.submit(run_source, specs[name], args, shell=["sh"]) for name, args in asked.items()}
        return {name: job.result() for name, job in jobs.items()}


def test_every_source_has_a_parser_and_every_fact_a_source() -> None:
    specs = load_sources()
    for name in _from_probe():
        for source in _sources(name):
            assert source in specs, f"{name}: there is no probe source {source}"
    told = {source for spec in registry().values() for source in spec.sources}
    assert set(specs) <= told, "sources that nobody reads"


def test_families_whose_keys_are_arguments_are_those_that_sources_take() -> None:
    specs = load_sources()
    for spec in registry().values():
        if spec.keys_as_args:
            assert specs[spec.source].args_family, f"{spec.name}: its source takes no arguments"
    for source in specs.values():
        if source.args_family:
            family = next(spec for spec in registry().values() if spec.family == source.args_family)
            assert family.keys_as_args, f"{source.name} wants keys of {family.name}, which are not handed to it"
            assert family.source == source.name


def test_an_empty_transcript_gives_an_error_for_every_name() -> None:
    names = _all_names()
    facts = gather(write_transcript({}), names, NODE)
    assert list(facts) == names
    for name, fact in facts.items():
        assert fact.state is FactState.ERROR, fact
        assert fact.name == name
        assert fact.reason


@pytest.mark.parametrize("state", BROKEN_STATES)
def test_a_source_that_did_not_end_gives_errors_however_much_of_it_came(
    real: dict[str, SourceReply], state: str
) -> None:
    for source in real:
        names = [name for name in _from_probe() if source in _sources(name)]
        sections = real[source].sections
        for count in range(len(sections) + 1):
            broken = SourceReply(source, state, sections[:count], rc=None, duration_ms=5000, note="for this test")
            for fact in _facts({source: broken}, names).values():
                assert fact.state is FactState.ERROR, (count, fact)
                assert fact.reason
                assert fact.source == source


def test_a_source_without_sections_gives_errors(real: dict[str, SourceReply]) -> None:
    for fact in _facts(dict.fromkeys(real, ()), _all_names()).values():
        assert fact.state is FactState.ERROR or fact.name in NOT_IN_TEXT, fact


def test_garbage_in_every_section_gives_errors(real: dict[str, SourceReply]) -> None:
    garbled = {
        source: replace(reply, sections=tuple(replace(one, text=GARBAGE, stderr="", rc=0) for one in reply.sections))
        for source, reply in real.items()
    }
    facts = _facts(garbled, _all_names())
    wrong = [fact for fact in facts.values() if fact.state is not FactState.ERROR and fact.name not in NOT_IN_TEXT]
    assert not wrong, "\n".join(
        f"{fact.name}: {fact.state.value} {fact.value!r:.80} {fact.reason:.80}" for fact in wrong
    )


@pytest.mark.parametrize("torn", [False, True], ids=["killed between sections", "killed within a section"])
def test_a_source_that_was_killed_gives_errors(real: dict[str, SourceReply], torn: bool) -> None:
    for source, reply in real.items():
        names = [name for name in _from_probe() if source in _sources(name)]
        for count in range(len(reply.sections)):
            sections = reply.sections[:count]
            if torn:
                half = reply.sections[count]
                sections += (replace(half, text=half.text[: len(half.text) // 2], rc=None),)
            for fact in _facts({source: replace(reply, sections=sections, rc=137)}, names).values():
                assert fact.state is FactState.ERROR, (count, fact)


def test_needs_of_derived_facts_are_declared() -> None:
    for name in with_needs(_all_names()):
        assert spec_for(name) is not None, name
