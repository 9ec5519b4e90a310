"""From a transcript to facts: every name that was wanted is in the result, whatever happened on the way.

Three states, and nothing slides from one into another: a source that was not run, was cut or timed out gives errors;
a parser that raises gives errors for its names (with what it raised) and costs no other source; a name that a parser
did not speak of is an error, too, never absent by default.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from nodectl.facts import registry as reg
from nodectl.facts.conform import conform
from nodectl.facts.joint import joined
from nodectl.facts.registry import Context, FactNameError, FactSpec
from nodectl.model import Fact, FactState, Node, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply, Transcript

_MAX_REASON = 400
_MAX_COMMAND = 100
# A node may send anything: 1,024 replies of this size are what is kept at most.
_SHARED_CHARACTERS = 16 * 1024


def gather(transcript: Transcript, wanted: Collection[str], node: Node) -> dict[str, Fact]:
    """The wanted facts of one node, in the order of `wanted`.

    Args:
        transcript: what the probe sent.
        wanted: fact names as checks write them (`driver.version`, `sysctl[vm.swappiness]`, `expect.gpus`). A name that
            is not declared is an error fact that says so.
        node: the inventory's node: `expect.KEY` comes from its `expect`.

    Returns:
        One fact for each name of `wanted`, and no others.
    """
    way = _way_to(tuple(wanted))
    facts: dict[str, Fact] = {name: error(name, problem) for name, problem in way.unknown.items()}
    for name in way.inventory:
        facts[name] = _expectation(name, node)
    replies = _replies(transcript)
    parts: dict[str, dict[str, Fact]] = {name: {} for name in way.joint}
    for source, names in way.by_source.items():
        reply = replies.get(source) if isinstance(replies, Mapping) else None
        if isinstance(replies, str):
            told = _all_errors(names, replies, source)
        else:
            told = _from_source(source, way, reply, transcript.uid)
        for name, fact in told.items():
            if name not in parts:
                facts[name] = fact
            elif reply is not None or isinstance(replies, str):  # a source that was not asked has no part to tell
                parts[name][source] = fact
    facts.update((name, joined(way.specs[name], told)) for name, told in parts.items())
    for name in way.derived:
        _derive(name, facts)
    return {name: facts[name] for name in wanted}


# The facts that a parser told, and what it raised then, if it did.
_Told = tuple[tuple[Fact, ...], str]
_Asked = tuple[tuple[str, tuple[str, ...]], ...]


class _Way(msgspec.Struct, frozen=True):
    """How a set of wanted facts is come by; the same for every node that is asked for them.

    Attributes:
        specs: the declarations of them and of all that they are derived from.
        unknown: names that are not declared, with what is wrong.
        by_source: the names that each probe source tells.
        keys: for each source the family keys among its names: {family: sorted keys}.
        asked: the same as pairs, to be looked up by.
        inventory, derived, joint: those names.
    """

    specs: dict[str, FactSpec]
    unknown: dict[str, str]
    by_source: dict[str, list[str]]
    keys: dict[str, dict[str, tuple[str, ...]]]
    asked: dict[str, _Asked]
    inventory: list[str]
    derived: list[str]
    joint: list[str]


@functools.lru_cache(maxsize=256)
def _way_to(wanted: tuple[str, ...]) -> _Way:
    specs: dict[str, FactSpec] = {}
    unknown: dict[str, str] = {}
    by_source: dict[str, list[str]] = {}
    for name in reg.with_needs(wanted):
        try:
            specs[name] = reg.resolve(name)
        except FactNameError as problem:
            unknown[name] = str(problem)
            continue
        for source in specs[name].sources:
            by_source.setdefault(source, []).append(name)
    inventory = by_source.pop(reg.INVENTORY, [])
    derived = by_source.pop(reg.DERIVED_SOURCE, [])
    keys = {source: _keys(names) for source, names in by_source.items()}
    asked = {source: tuple(sorted(of.items())) for source, of in keys.items()}
    joint = [name for name, spec in specs.items() if spec.parts]
    return _Way(specs, unknown, by_source, keys, asked, inventory, derived, joint)


def _replies(transcript: Transcript) -> Mapping[str, SourceReply] | str:
    """What the sources said, or why the transcript cannot be read."""
    try:
        return transcript.sources
    except Exception as problem:
        return f"the transcript cannot be read: {_describe(problem)}"


def _describe(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"[:_MAX_REASON]


def _all_errors(names: Iterable[str], reason: str, source: str, **origin: Any) -> dict[str, Fact]:
    return {name: error(name, reason, source=source, **origin) for name in names}


def _expectation(name: str, node: Node) -> Fact:
    key = name[len(reg.EXPECT_PREFIX) :]
    origin = {"source": reg.INVENTORY, "command": node.origin}
    if key in node.expect:
        return present(name, node.expect[key], **origin)
    return absent(name, f"the inventory declares no expect.{key} for this node", **origin)


def _from_source(source: str, way: _Way, reply: SourceReply | None, uid: int | None) -> dict[str, Fact]:
    """The facts of one source: exactly one for each name that it is to tell."""
    names = way.by_source[source]
    trouble = _trouble(source, reply)
    if reply is None or trouble:
        return _all_errors(
            names,
            trouble,
            source,
            command=_command(reply),
            rc=reply.rc if reply else None,
            duration_ms=reply.duration_ms if reply else None,
        )
    facts, raised = _told(way, uid, reply)
    said = {fact.name: fact for fact in facts}
    result = {}
    for name in names:
        found = said.get(name) or error(name, raised or f"the probe did not answer for it (source {source})")
        result[name] = conform(_with_origin(found, source, reply), way.specs[name])
    return result


def _told(way: _Way, uid: int | None, reply: SourceReply) -> _Told:
    """What the parser makes of a reply.

    Nodes of a fleet say much the same: a short reply is read once for all that sent it word for word. Facts are never
    changed in place, so that they can be shared.
    """
    size = sum(len(section.text) + len(section.stderr) for section in reply.sections)
    if size > _SHARED_CHARACTERS:
        return _parse(reply, Context(keys=way.keys[reply.source], uid=uid))
    return _parsed_once(way.asked[reply.source], uid, msgspec.structs.replace(reply, duration_ms=None))


@functools.lru_cache(maxsize=1024)
def _parsed_once(keys: _Asked, uid: int | None, reply: SourceReply) -> _Told:
    return _parse(reply, Context(keys=dict(keys), uid=uid))


def _parse(reply: SourceReply, context: Context) -> _Told:
    facts: list[Fact] = []
    try:
        parser = reg.parser_of(reply.source)
        if parser is None:
            raise LookupError(f"nothing reads the source {reply.source}")
        facts.extend(parser(reply, context))
    except Exception as problem:
        return tuple(facts), f"could not read the answer of {reply.source} ({_describe(problem)})"
    return tuple(facts), ""


def _keys(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The family keys among the names: {family: sorted keys}."""
    keys: dict[str, list[str]] = {}
    for name in names:
        family, key = reg.split_name(name)
        if key is not None:
            keys.setdefault(family, []).append(key)
    return {family: tuple(sorted(found)) for family, found in keys.items()}


def _trouble(source: str, reply: SourceReply | None) -> str:
    """Why nothing of this source can be believed; empty when it answered to its end."""
    if reply is None:
        return f"the probe reply holds nothing of the source {source}"
    if reply.state == "ok":
        return _half(source, reply)
    if reply.state == "missing":
        return f"the source {source} was not run on the node" + (f" ({reply.note})" if reply.note else "")
    subject = _under_way(source, reply)
    note = _ASIDE.sub(r": \1", reply.note)
    if note.startswith(_OF_THE_SOURCE):
        return f"{subject} {note}"
    if "this source" in note:
        return note.replace("this source", subject)
    said = {
        "timeout": f"{subject} did not end in its time on the node",
        "cut": f"the reply ended before {subject} did",
        "too_big": f"{subject} sent more than the probe takes",
    }.get(reply.state, f"{subject} ended as {reply.state}")
    return said + (f": {note}" if note else "")


# How the notes of a reply begin that speak of the source, and what they say in brackets at their end.
_OF_THE_SOURCE = ("did ", "had ", "sent ", "was ")
_ASIDE = re.compile(r" \(([^()]+)\)$")


def _under_way(source: str, reply: SourceReply) -> str:
    """What a source was at when it ended: its command, in words; the source itself where that is not known."""
    section = next((section for section in reversed(reply.sections) if section.rc is None), None)
    if section is None:
        return f"the source {source}"
    if section.kind == "cmd":
        return section.name if len(section.name) <= _MAX_COMMAND else f"{section.name[:_MAX_COMMAND]}..."
    return f"the read of {section.name}" if section.kind == "file" else f"the read of the files of {source}"


def _half(source: str, reply: SourceReply) -> str:
    """Why a source that is over may still not have said all; empty when it has.

    A status above 128 is that of a process that a signal ended, unless it is only what the last command ended with.
    """
    if any(section.rc is None for section in reply.sections):
        return f"part of the answer of {_under_way(source, reply)} was lost"
    binary = next((section.name for section in reply.sections if _is_binary(section.text)), None)
    if binary is not None:
        return f"{source} answered with binary data where text belongs, at: {binary}"
    if reply.rc is not None and reply.rc > 128 and not (reply.sections and reply.sections[-1].rc == reply.rc):
        return f"{source} was killed on the node (status {reply.rc})"
    return ""


def _is_binary(text: str) -> bool:
    """Whether an eighth or more of a text is what `clean` makes of bytes that are no text."""
    if text.isascii() and "\\x" not in text:
        return False
    return 8 * (4 * text.count("\\x") + text.count("\ufffd")) > len(text)


def _command(reply: SourceReply | None) -> str:
    """What was read or run, for a fact whose parser did not say it more exactly."""
    if reply is None:
        return ""
    names = [section.name for section in reply.sections]
    return "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "")


def _with_origin(fact: Fact, source: str, reply: SourceReply) -> Fact:
    if fact.source and fact.command and fact.duration_ms is not None:
        return fact
    return Fact(
        name=fact.name,
        state=fact.state,
        value=fact.value,
        reason=fact.reason,
        source=fact.source or source,
        command=fact.command or _command(reply),
        rc=reply.rc if fact.rc is None else fact.rc,
        duration_ms=reply.duration_ms if fact.duration_ms is None else fact.duration_ms,
    )


def _derive(name: str, facts: dict[str, Fact]) -> Fact:
    """Computes a derived fact (and first what it needs) into `facts`."""
    if name in facts:
        return facts[name]
    # Stands while its needs are computed: a circle of derivations ends here, as an error.
    facts[name] = error(name, "derived from itself", source=reg.DERIVED_SOURCE)
    derivation = reg.derivation_of(name)
    if derivation is None:
        facts[name] = error(name, "declared as derived, but nothing derives it", source=reg.DERIVED_SOURCE)
        return facts[name]
    needs, compute = derivation
    values = []
    for need in needs:
        fact = facts.get(need) or _derive(need, facts)
        if fact.state is not FactState.VALUE:
            facts[name] = Fact(
                name=name,
                state=fact.state,
                reason=f"{need}: {fact.reason}",
                source=reg.DERIVED_SOURCE,
                command=fact.command,
                rc=fact.rc,
                duration_ms=fact.duration_ms,
            )
            return facts[name]
        values.append(fact.value)
    command = facts[needs[0]].command if needs else ""
    try:
        value = compute(*values)
        fact = value if isinstance(value, Fact) else present(name, value)
    except Exception as problem:
        fact = error(name, f"could not be told from {', '.join(needs)} ({_describe(problem)})")
    fact = msgspec.structs.replace(fact, name=name, source=reg.DERIVED_SOURCE, command=fact.command or command)
    facts[name] = conform(fact, reg.resolve(name))
    return facts[name]
