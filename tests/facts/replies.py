"""Replies made by hand, and the facts that come of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe.transcript import Section, SourceReply, write_transcript

NODE = Node(name="n1", origin="hosts.yaml:3", expect={"gpus": 8})


def file(path: str, text: str) -> Section:
    return Section("file", path, text)


def no_file(path: str, why: str = "No such file or directory") -> Section:
    return Section("file", path, "", f"cat: {path}: {why}\n", 1)


def grep(files: Mapping[str, str], missing: Iterable[str] = (), why: str = "No such file or directory") -> Section:
    text = "".join(f"{path}:{line}\n" for path, content in files.items() for line in content.split("\n"))
    stderr = "".join(f"grep: {path}: {why}\n" for path in missing)
    return Section("grep", "files", text, stderr, 2 if stderr else 0)


def cmd(name: str, text: str = "", stderr: str = "", rc: int | None = 0) -> Section:
    return Section("cmd", name, text, stderr, rc)


def said(name: str, text: str) -> Section:
    return Section("text", name, text)


def facts_of(source: str, sections: Sequence[Section] | SourceReply, *names: str) -> dict[str, Fact]:
    """What gather makes of one source's sections, through a transcript as a node would send it."""
    return gather(write_transcript({source: sections}), names, NODE)


def fact_of(source: str, sections: Sequence[Section] | SourceReply, name: str) -> Fact:
    return facts_of(source, sections, name)[name]


def value_of(source: str, sections: Sequence[Section] | SourceReply, name: str) -> Any:
    fact = fact_of(source, sections, name)
    assert fact.state is FactState.VALUE, fact
    return fact.value


def state_of(source: str, sections: Sequence[Section] | SourceReply, name: str) -> str:
    return fact_of(source, sections, name).state.value
