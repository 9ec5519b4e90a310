"""From a line to its message: what is understood, what is cut, what is refused, and that nothing else comes out."""

from __future__ import annotations

import json

import pytest
from agent_lines import hello, line, slow, tick
from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.probe.clean import clean
from nodectl.telemetry.decode import NotUnderstood, decode
from nodectl.telemetry.messages import (
    LONG,
    MAX_GPUS,
    MAX_LINE_BYTES,
    MAX_PROCESSES,
    SHORT,
    Bye,
    Event,
    Hello,
    Message,
    Slow,
    Tick,
    encode,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
KEYS = st.sampled_from(
    ["k", "v", "n", "t", "g", "h", "p", "ms", "backend", "why", "interval_s", "gpus", "host", "unsupported", "cut",
     "gpu_fields", "gpu", "what", "code", "text", "driver", "pid"]
)  # fmt: skip
KINDS = st.sampled_from(["hello", "t", "s", "e", "bye", "later"])
OBJECTS = st.builds(lambda kind, keys: {**keys, "k": kind}, KINDS, st.dictionaries(KEYS, JSON, max_size=8))


def understood(data: bytes) -> Message | None:
    try:
        return decode(data)
    except NotUnderstood:
        return None


def texts(value: object) -> list[str]:
    """All text in a message."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts(part)]
    names = getattr(value, "__struct_fields__", ())
    return [text for name in names for text in texts(getattr(value, name))]


def test_a_hello_whole() -> None:
    message = decode(
        hello(
            1,
            why="no libnvidia-ml",
            driver="580.159.04",
            python="3.11.2",
            pid=77,
            host={"cpus": 192, "memory_total_mib": 2e6, "nics": ["eth0"], "ib": ["mlx5_0"]},
            unsupported={"nvlink_tx_mib_s": "no NVLink", "power_w": {"0": "no permission"}},
        )
    )
    assert isinstance(message, Hello)
    assert (message.backend, message.driver, message.pid, message.newer) == ("nvml", "580.159.04", 77, False)
    assert message.gpus[0].memory_total_mib == 143771.0
    assert message.host.ib == ("mlx5_0",)
    assert message.why_unsupported("nvlink_tx_mib_s", "0") == "no NVLink"
    assert message.why_unsupported("power_w", "0") == "no permission"
    assert message.why_unsupported("power_w", "1") == message.why_unsupported("temperature_c") == ""


def test_a_hello_of_nulls_and_wrong_types_is_a_hello_of_defaults() -> None:
    keys = ["v", "backend", "why", "interval_s", "t", "driver", "pid", "gpus", "host", "unsupported", "gpu_fields"]
    for value in (None, [], {}, True, "x", [None], [[]], {"a": []}):
        message = decode(line("hello", **dict.fromkeys(keys, value)))
        assert isinstance(message, Hello)
        assert message.interval_s == 1.0
        assert message.v == 1


def test_mig_devices_lie_under_their_gpu() -> None:
    message = decode(
        hello(gpus=0)[:-1].replace(b'"gpus":[]', b'"gpus":[{"index":"3/1","parent":"3","mig":true}]') + b"}"
    )
    assert isinstance(message, Hello)
    assert (message.gpus[0].index, message.gpus[0].parent, message.gpus[0].mig) == ("3/1", "3", True)


def test_a_newer_version_is_read_as_far_as_it_goes() -> None:
    message = decode(hello(2, v=3, fans=[1, 2]))
    assert isinstance(message, Hello)
    assert message.newer
    assert len(message.gpus) == 2
    with pytest.raises(NotUnderstood) as raised:
        decode(line("fan", rpm=[1]))
    assert raised.value.unknown_kind


def test_too_many_devices_and_processes_are_cut_and_too_long_text_too() -> None:
    many = decode(hello(gpus=300))
    assert isinstance(many, Hello)
    assert len(many.gpus) == MAX_GPUS
    assert many.cut == ("300 devices: the first 256 are kept",)
    rows = [["0", pid] for pid in range(MAX_PROCESSES + 9)]
    message = decode(line("s", n=1, t=1.0, p=rows))
    assert isinstance(message, Slow)
    assert message.processes is not None
    assert len(message.processes) == MAX_PROCESSES
    long = decode(line("s", n=1, t=1.0, p=[["0", 1, "u" * 5000, "c" * 5000]]))
    assert isinstance(long, Slow)
    assert long.processes
    for text, limit in ((long.processes[0].user, SHORT), (long.processes[0].command, LONG)):
        assert limit - 20 < len(text) <= limit
        assert text.endswith("more characters]")
    with pytest.raises(NotUnderstood):
        decode(b" " * MAX_LINE_BYTES + tick(1))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (rb'"\u001b]0;owned\u0007"', r"\x1b]0;owned\x07"),
        (rb'"\u202egnp.exe"', r"\u202egnp.exe"),
        (rb'"a\nb\tc"', "a b c"),
        (b'"caf\xc3\xa9"', "café"),
        (b'"\xff\xfe"', "\ufffd\ufffd"),  # bytes that are no UTF-8
        (rb'"\udc80x"', "\ufffdx"),  # what Python's surrogateescape makes of them
    ],
)
def test_text_is_clean(raw: bytes, shown: str) -> None:
    event = decode(b'{"k":"e","what":"error","text":' + raw + b"}")
    assert isinstance(event, Event)
    assert event.text == shown
    process = decode(b'{"k":"s","n":1,"t":1,"p":[["0",1,"root",' + raw + b"]]}")
    assert isinstance(process, Slow)
    assert process.processes
    assert process.processes[0].command == shown


def test_values_that_json_does_not_have_are_not_known() -> None:
    message = decode(b'{"k":"t","n":1,"t":1,"g":[[NaN,Infinity,-Infinity,1e999,2]],"h":[]}')
    assert message == Tick(seq=1, t=1.0, gpus=[[None, None, None, None, 2.0]], host=[])


def test_rows_of_processes_that_are_none_are_left_out() -> None:
    message = decode(
        line("s", n=1, t=1.0, p=[None, 3, [], ["0"], ["0", "x"], ["1", 5, None, 7, "much", [], {}, "more"]])
    )
    assert isinstance(message, Slow)
    assert message.processes
    (only,) = message.processes
    assert (only.gpu, only.pid, only.user, only.command, only.memory_mib) == ("1", 5, "", "7", None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"k":7}',
        b'{"v":1}',
        b'{"k":"t","g":7}',
        b'{"k":"t","t":"soon"}',
        b"[" * 9999,
        b'{"k":"bye","why":' + b"[" * 9999,
        b'{"k":"bye","t":' + b"9" * 9999 + b"}",
        b'{"k":"e","code":NaN,' + b"[" * 99999,
    ],
)
def test_what_is_no_message_is_not_understood(data: bytes) -> None:
    with pytest.raises(NotUnderstood):
        decode(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_not_understood(data: bytes) -> None:
    understood(data)
    understood(b'{"k":"t",' + data)


@given(OBJECTS)
@settings(max_examples=400)
def test_any_object_is_a_message_or_not_understood_and_its_text_is_clean(value: dict[str, object]) -> None:
    message = understood(json.dumps(value).encode())
    if message is None:
        return
    assert all(clean(text) == text for text in texts(message))
    assert not any(char in text for text in texts(message) for char in "\x1b\n\r\t\x00\x9b\u202e")
    assert all(len(text) <= LONG for text in texts(message))
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data", [hello(), tick(3), slow(4), line("e", t=1.0, gpu="3", what="xid", code=79), line("bye")]
)
def test_encode_gives_the_line_again(data: bytes) -> None:
    message = decode(data)
    assert decode(encode(message)) == message
    assert isinstance(message, Hello | Tick | Slow | Event | Bye)
