"""What the tests of the NVIDIA facts share: replies as a node would send them, and facts by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nodectl.facts import registry
from nodectl.facts.conform import conform
from nodectl.facts.registry import Context
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section, SourceReply

TWO_GPUS = Path(__file__).parent / "recordings" / "h200-two-gpus.xml"

XML = "nvidia-smi -q -x"
TEXT = "nvidia-smi -q"
TOPO = "nvidia-smi topo -m"
LINKS = "nvidia-smi nvlink -s"
LINK_ERRORS = "nvidia-smi nvlink -e"


def cmd(name: str, text: str = "", *, rc: int | None = 0, stderr: str = "") -> Section:
    return Section("cmd", name, text, stderr, rc)


def file(name: str, text: str = "", *, rc: int | None = 0, stderr: str = "") -> Section:
    return Section("file", name, text, stderr, rc)


def no_file(name: str) -> Section:
    return Section("file", name, "", f"cat: {name}: No such file or directory\n", 1)


def facts_of(
    source: str, sections: Iterable[Section], *, keys: dict[str, tuple[str, ...]] | None = None
) -> dict[str, Fact]:
    """The facts that the source's parser makes of the sections; each must be what its declaration says."""
    parser = registry.parser_of(source)
    assert parser is not None
    reply = SourceReply(source, "ok", tuple(sections), 0, 120)
    facts = list(parser(reply, Context(keys=keys or {})))
    for fact in facts:
        spec = registry.resolve(fact.name)
        assert source in spec.sources, fact.name
        assert conform(fact, spec) is fact, f"{fact.name} is not what it is declared as: {fact.value!r:.200}"
        assert fact.state is FactState.VALUE or fact.reason, f"{fact.name} gives no reason"
    by_name = {fact.name: fact for fact in facts}
    assert len(by_name) == len(facts), "a fact was told twice"
    missing = {
        name
        for name, spec in registry.registry().items()
        if source in spec.sources and spec.family is None and name not in by_name
    }
    assert not missing, f"nothing was said of {missing}"
    return by_name


def query(text: str, *, rc: int | None = 0, stderr: str = "", command: str = XML) -> dict[str, Fact]:
    """Facts of one `nvidia-smi -q -x` call."""
    return facts_of("nvidia_smi_q", [cmd(command, text, rc=rc, stderr=stderr)])
