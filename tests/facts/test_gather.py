"""gather: every wanted name is in the result, and nothing slides from error to absent or from either to a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from replies import NODE, cmd, fact_of, facts_of
from test_registry import HOSTILE

from nodectl.facts import registry as reg
from nodectl.facts.conform import conform
from nodectl.facts.gather import _trouble as trouble_of
from nodectl.facts.gather import gather
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, FactState, Node, absent, error, present
from nodectl.probe.reply import source_reply
from nodectl.probe.transcript import SourceReply, Transcript, write_transcript
from nodectl.probe.wire import RawSource


def _spec(name: str, type: str = "str", source: str = "src", **more: Any) -> FactSpec:
    return FactSpec(name=name, type=type, about="for a test", source=source, **more)


SPECS = (
    _spec("t.one"),
    _spec("t.two", "int"),
    _spec("t.rows", "rows", fields=(Field("index", "int"), Field("name"))),
    _spec("t.fam[KEY]", keys_as_args=True),
    _spec("t.other", source="other"),
    _spec("t.half", "int", source="derived"),
    _spec("t.quarter", "int", source="derived"),
    _spec("t.bad", "int", source="derived"),
    _spec("t.told", "int", source="derived"),
    _spec("t.loop", "int", source="derived"),
)


def _two_is(value: Any) -> Any:
    return lambda reply, context: [present("t.two", value)]


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry of a test; its parsers may be set."""
    parsers: dict[str, Any] = {"src": lambda reply, context: []}
    derived = {
        "t.half": (("t.two",), lambda two: two // 2),
        "t.quarter": (("t.half",), lambda half: half // 2),
        "t.bad": (("t.two",), lambda two: two // 0),
        "t.told": (("t.two",), lambda two: absent("x", "not for this value")),
        "t.loop": (("t.loop",), lambda loop: loop),
    }
    specs = {spec.name: spec for spec in (*SPECS, reg._EXPECT)}
    families = {spec.family: spec for spec in SPECS if spec.family}
    tables = reg._Tables(specs, families, parsers, derived)
    monkeypatch.setattr(reg, "_tables", lambda: tables)
    return parsers


def test_the_result_has_the_wanted_names_in_their_order_and_no_others(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [present("t.two", 2), present("t.one", "a"), present("stray", "b")]
    facts = facts_of("src", [cmd("x")], "t.one", "expect.gpus", "t.two")
    assert list(facts) == ["t.one", "expect.gpus", "t.two"]
    assert [fact.value for fact in facts.values()] == ["a", 8, 2]


def test_a_name_that_the_parser_did_not_speak_of_is_an_error(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [present("t.one", "a")]
    fact = facts_of("src", [cmd("x")], "t.one", "t.two")["t.two"]
    assert fact.state is FactState.ERROR
    assert fact.reason == "the probe did not answer for it (source src)"


def test_a_key_that_the_parser_did_not_speak_of_is_an_error(parser: dict[str, Any]) -> None:
    def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
        assert context.keys_of("t.fam") == ("a", "b")
        assert context.uid == 0
        yield absent("t.fam[a]", "looked")

    parser["src"] = parse
    facts = facts_of("src", [cmd("x")], "t.fam[b]", "t.fam[a]")
    assert facts["t.fam[a]"].state is FactState.ABSENT
    assert facts["t.fam[b]"].state is FactState.ERROR


def test_a_parser_that_raises_keeps_what_it_had_and_gives_errors_for_the_rest(parser: dict[str, Any]) -> None:
    def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
        yield present("t.one", "a")
        raise ZeroDivisionError("nothing to share")

    parser["src"] = parse
    facts = facts_of("src", [cmd("x -y")], "t.one", "t.two", "t.other")
    assert facts["t.one"].value == "a"
    assert facts["t.two"].state is FactState.ERROR
    assert "ZeroDivisionError: nothing to share" in facts["t.two"].reason
    assert facts["t.two"].command == "x -y"
    assert "nothing of the source other" in facts["t.other"].reason


def test_provenance_is_filled_in(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [present("t.one", "a"), present("t.two", 2, command="cat two", rc=3)]
    reply = SourceReply("src", "ok", (cmd("x"), cmd("y"), cmd("z"), cmd("w")), rc=0, duration_ms=40)
    facts = facts_of("src", reply, "t.one", "t.two")
    assert (facts["t.one"].source, facts["t.one"].command, facts["t.one"].rc) == ("src", "x; y; z; ...", 0)
    assert (facts["t.two"].command, facts["t.two"].rc, facts["t.two"].duration_ms) == ("cat two", 3, 40)


def test_a_timeout_says_what_was_running(parser: dict[str, Any]) -> None:
    reply = SourceReply("src", "timeout", (cmd("fine"), cmd("nvidia-smi -q", rc=None)), rc=124, duration_ms=5000)
    fact = fact_of("src", reply, "t.one")
    assert fact.state is FactState.ERROR
    assert fact.reason == "nvidia-smi -q did not end within 5 s and was stopped"
    assert fact.duration_ms == 5000


_TOO_MUCH = "another source sent too much, and the rest of the reply was not read"
_OPEN = b"begin cmd nvidia-smi -q -x\n<xml>"
_WAYS = {
    "stuck": RawSource("src", 0, 45, 10.0, 60.0, "stuck", pieces=[_OPEN]),
    "stopped": RawSource("src", 0, 45, 10.0, 55.0, "exit", 124, pieces=[_OPEN]),
    "killed": RawSource("src", 0, 45, 10.0, 55.0, "exit", 137, pieces=[_OPEN]),
    "skipped": RawSource("src", 0, 45, ended="skip"),
    "unended": RawSource("src", 0, 45, 10.0, pieces=[_OPEN]),
    "between": RawSource("src", 0, 45, 10.0, pieces=[b"begin cmd ls\n/\n", b"end 0\n"]),
    "reading": RawSource("src", 0, 45, 10.0, pieces=[b"begin file /mnt/x\n"]),
    "many": RawSource("src", 0, 45, 10.0, pieces=[b"begin grep files\n/sys/x:1"]),
    "big": RawSource("src", 0, 45, 10.0, big=True, pieces=[_OPEN]),
}


@pytest.mark.parametrize(
    ("way", "ending", "reason"),
    [
        (
            "stuck",
            "complete",
            "nvidia-smi -q -x did not end within 45 s, nor when it was killed: a hung driver or file system?",
        ),
        (
            "killed",
            "complete",
            "nvidia-smi -q -x did not end within 45 s and had to be killed: a hung driver or file system?",
        ),
        ("stopped", "complete", "nvidia-smi -q -x did not end within 45 s and was stopped"),
        ("skipped", "complete", "the source src was not started: the sources before it had used up the time"),
        ("unended", "gave_up", "nvidia-smi -q -x did not end within 45 s, and the node did not stop it"),
        ("unended", "timed_out", "nvidia-smi -q -x was still running when the time for this node was up"),
        ("unended", "eof", "the reply ended before nvidia-smi -q -x did"),
        ("between", "eof", "the reply ended before the source src did"),
        ("reading", "eof", "the reply ended before the read of /mnt/x did"),
        ("reading", "gave_up", "the read of /mnt/x did not end within 45 s, and the node did not stop it"),
        ("many", "gave_up", "the read of the files of src did not end within 45 s, and the node did not stop it"),
        (None, "eof", "the reply ended before the source src began"),
        (None, "gave_up", "the source src was not started: a source before it hung"),
        (None, "no_start", "the reply ended before the source src did: the probe did not run"),
        (
            "unended",
            "too_big",
            f"the reply ended before nvidia-smi -q -x did: {_TOO_MUCH}",
        ),
        ("big", "eof", "nvidia-smi -q -x sent more than the 2 MiB or 4096 sections allowed"),
    ],
)
def test_each_way_of_not_ending_is_one_sentence(
    parser: dict[str, Any], way: str | None, ending: str, reason: str
) -> None:
    reply = source_reply("src", _WAYS[way] if way else None, ending)
    assert trouble_of("src", reply) == reason


def test_a_long_command_is_cut_and_a_lost_end_is_told(parser: dict[str, Any]) -> None:
    reply = SourceReply("src", "timeout", (cmd("x" * 500, rc=None),), rc=None, note="was stopped")
    assert trouble_of("src", reply) == "x" * 100 + "... was stopped"
    lost = SourceReply("src", "ok", (cmd("df", rc=None), cmd("ls")), rc=0)
    assert fact_of("src", lost, "t.one").reason == "part of the answer of df was lost"


def test_the_parser_of_a_broken_reply_is_not_asked(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [absent("t.one", "not installed")]
    for state in ("timeout", "cut", "too_big", "missing"):
        reply = SourceReply("src", state, (cmd("x"),), rc=None)
        assert fact_of("src", reply, "t.one").state is FactState.ERROR


def test_a_source_that_ended_with_the_status_of_its_last_command_was_not_killed(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [present("t.one", "a")]
    assert fact_of("src", SourceReply("src", "ok", (cmd("df", rc=137),), rc=137), "t.one").value == "a"
    assert "killed" in fact_of("src", SourceReply("src", "ok", (cmd("df", rc=0),), rc=137), "t.one").reason


def test_a_source_that_nothing_reads_is_an_error(parser: dict[str, Any]) -> None:
    assert "nothing reads the source other" in fact_of("other", [cmd("x")], "t.other").reason


@pytest.mark.parametrize(
    ("value", "fits"),
    [(2, True), (True, False), ("2", False), (2.0, False), (None, False), ([2], False)],
)
def test_a_value_of_another_type_is_an_error(parser: dict[str, Any], value: Any, fits: bool) -> None:
    parser["src"] = _two_is(value)
    fact = fact_of("src", [cmd("x")], "t.two")
    assert (fact.state is FactState.VALUE) is fits
    assert fits or "a fault in nodectl's parser of src" in fact.reason


def test_a_wrong_field_costs_only_that_field() -> None:
    rows = [{"index": 0, "name": "a"}, {"index": "1", "name": "b", "_errors": {"x": "y"}}, {"index": None, "name": 3}]
    spec = next(spec for spec in SPECS if spec.name == "t.rows")
    fact = conform(present("t.rows", rows), spec)
    assert fact.value[0] is rows[0]
    assert fact.value[1]["index"] is None
    assert fact.value[1]["name"] == "b"
    assert set(fact.value[1]["_errors"]) == {"x", "index"}
    assert set(fact.value[2]["_errors"]) == {"name"}
    assert rows[1]["_errors"] == {"x": "y"}
    assert conform(present("t.rows", [1]), spec).state is FactState.ERROR
    assert conform(present("t.rows", rows[:1]), spec).value is not None


@pytest.mark.parametrize(
    ("type", "good", "bad"),
    [
        ("float", 1, "1"),
        ("float", 1.5, float("nan")),
        ("bool", False, 0),
        ("version", "580.65", "N/A"),
        ("list", [], ()),
        ("row", {}, []),
        ("str", "", b""),
    ],
)
def test_types(type: str, good: Any, bad: Any) -> None:
    spec = _spec("t.x", type)
    assert conform(present("t.x", good), spec).value == good
    assert conform(present("t.x", bad), spec).state is FactState.ERROR
    assert conform(error("t.x", "why"), spec).reason == "why"


def test_derived_facts_come_from_facts(parser: dict[str, Any]) -> None:
    parser["src"] = lambda reply, context: [present("t.two", 8, command="cat two")]
    facts = facts_of("src", [cmd("x")], "t.quarter", "t.bad", "t.told")
    assert facts["t.quarter"].value == 2
    assert facts["t.quarter"].source == "derived"
    assert facts["t.quarter"].command == "cat two"
    assert "ZeroDivisionError" in facts["t.bad"].reason
    assert facts["t.told"] == absent("t.told", "not for this value", source="derived", command="cat two")


@pytest.mark.parametrize("state", [FactState.ABSENT, FactState.ERROR])
def test_a_derived_fact_is_as_unknown_as_what_it_needs(parser: dict[str, Any], state: FactState) -> None:
    parser["src"] = lambda reply, context: [Fact(name="t.two", state=state, reason="no luck", command="cat two")]
    fact = fact_of("src", [cmd("x")], "t.quarter")
    assert fact.state is state
    assert fact.reason == "t.half: t.two: no luck"
    assert fact.command == "cat two"


def test_a_derivation_in_a_circle_ends(parser: dict[str, Any]) -> None:
    assert fact_of("src", [cmd("x")], "t.loop").state is FactState.ERROR


def test_expectations_come_from_the_inventory() -> None:
    facts = gather(write_transcript({}), ["expect.gpus", "expect.model"], NODE)
    assert facts["expect.gpus"].value == 8
    assert facts["expect.gpus"].command == "hosts.yaml:3"
    assert facts["expect.model"].state is FactState.ABSENT
    assert facts["expect.model"].reason == "the inventory declares no expect.model for this node"


@pytest.mark.parametrize("name", ["no.such_fact", "sysctl", "expect.", *(f"sysctl[{key}]" for key in HOSTILE)])
def test_an_undeclared_name_is_an_error_that_says_so(name: str) -> None:
    fact = gather(write_transcript({}), [name], NODE)[name]
    assert fact.state is FactState.ERROR
    assert fact.reason


class _Unreadable(Transcript):
    @property
    def sources(self) -> dict[str, SourceReply]:  # type: ignore[override]
        raise ValueError("no frames")


def test_a_transcript_that_cannot_be_read_gives_errors() -> None:
    facts = gather(_Unreadable(node="n", nonce="00"), ["os.id", "kernel.version"], Node(name="n"))
    assert all(fact.state is FactState.ERROR and "no frames" in fact.reason for fact in facts.values())


def test_a_node_that_sent_nothing_gives_errors() -> None:
    facts = gather(Transcript(node="n", nonce="00", wire=b""), ["os.id"], Node(name="n"))
    assert facts["os.id"].state is FactState.ERROR


class _Counting:
    """A parser that counts its calls and tells how long its reply was."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, reply: SourceReply, context: Context) -> list[Fact]:
        self.calls += 1
        keys = ",".join(context.keys_of("t.fam"))
        return [present("t.one", f"{keys} {len(reply.sections[0].text)}"), present("t.rows", [{"index": 1}])]


def _reply(text: str, duration_ms: int = 10) -> SourceReply:
    return SourceReply("src", sections=(cmd("x", text),), duration_ms=duration_ms)


def test_what_nodes_say_word_for_word_is_read_once(parser: dict[str, Any]) -> None:
    counting = parser["src"] = _Counting()
    first = facts_of("src", _reply("same", 10), "t.one")["t.one"]
    second = facts_of("src", _reply("same", 30), "t.one")["t.one"]
    assert counting.calls == 1
    assert first.value == second.value
    assert (first.duration_ms, second.duration_ms) == (10, 30)  # of each node its own


def test_other_words_other_keys_and_long_replies_are_read_anew(parser: dict[str, Any]) -> None:
    counting = parser["src"] = _Counting()
    assert fact_of("src", _reply("same"), "t.one").value == " 4"
    assert fact_of("src", _reply("other"), "t.one").value == " 5"
    assert facts_of("src", _reply("same"), "t.one", "t.fam[a]")["t.one"].value == "a 4"
    assert counting.calls == 3
    for _ in range(2):
        facts_of("src", _reply("x" * 17_000), "t.one")
    assert counting.calls == 5
