"""The known_hosts parser, against examples, against `ssh-keygen -F`, and against nonsense."""

from __future__ import annotations

import base64
import shutil
import string
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sshd import known_hosts_line

from nodectl.transport import SshSettings
from nodectl.transport.base import Failure
from nodectl.transport.host_keys import HostKeys, ShownKey, apply_list
from nodectl.transport.known_hosts import KnownHosts, fingerprint, glob_pattern, lookup_name


def wire(key_type: str, seed: bytes = b"k") -> bytes:
    """A public key in wire form that ssh-keygen would take: the type and 32 bytes."""
    body = (seed * 32)[:32]
    return b"".join(struct.pack(">I", len(part)) + part for part in (key_type.encode(), body))


def line_of(hosts: str, seed: bytes = b"k", key_type: str = "ssh-ed25519") -> str:
    return f"{hosts} {key_type} {base64.b64encode(wire(key_type, seed)).decode()}\n"


def table_of(text: str | bytes) -> KnownHosts:
    table = KnownHosts()
    table.load(text.encode() if isinstance(text, str) else text, "kh")
    return table


def known(table: KnownHosts, name: str) -> list[str]:
    return [entry.marker or "plain" for entry in table.all_entries(name)]


@pytest.mark.parametrize(
    ("hosts", "name", "found"),
    [
        ("gpu001", "gpu001", True),
        ("GPU001.Example", "gpu001.example", True),
        ("gpu001,10.0.0.1", "10.0.0.1", True),
        ("gpu001", "gpu0011", False),
        ("[gpu001]:2222", "[gpu001]:2222", True),
        ("[gpu001]:2222", "gpu001", False),
        ("gpu001", "[gpu001]:2222", False),
        ("gpu*", "gpu001", True),
        ("gpu*", "[gpu001]:2222", False),
        ("[gpu*]:2222", "[gpu001]:2222", True),
        ("gpu00?", "gpu001", True),
        ("gpu00?", "gpu0012", False),
        ("*.example,!bad.example", "good.example", True),
        ("*.example,!bad.example", "bad.example", False),
        ("!bad.example", "good.example", False),
        ("*", "anything", True),
        ("gpu[0-9]", "gpu1", False),  # brackets are no pattern here
        ("gpu.001", "gpux001", False),
        ("2001:db8::1", "2001:db8::1", True),
    ],
)
def test_names(hosts: str, name: str, found: bool) -> None:
    assert bool(table_of(line_of(hosts)).all_entries(name)) is found


def test_markers_comments_and_bad_lines() -> None:
    text = (
        "# a comment\n\n   \n"
        + line_of("a")
        + "@cert-authority "
        + line_of("*.x")
        + "@revoked "
        + line_of("*", b"r")
        + "@other "
        + line_of("a")
        + "only two\n"
        + "a ssh-ed25519 not-base64!\n"
        + line_of("a").replace("ssh-ed25519", "ssh-rsa")
        + "|1|bad|hash ssh-ed25519 "
        + base64.b64encode(wire("ssh-ed25519")).decode()
        + "\n"
        + "\tb\t"
        + line_of("b").split(" ", 1)[1].strip()
        + " a comment with spaces\r\n"
    )
    table = table_of(text)
    assert known(table, "a") == ["plain", "revoked"]
    assert known(table, "n.x") == ["cert-authority", "revoked"]
    assert known(table, "b") == ["plain", "revoked"]
    assert [note.split(": ", 1)[1] for note in table.notes] == [
        "unknown marker @'other'; the line is skipped",
        "expected `hosts keytype base64-key`; the line is skipped",
        *[note.split(": ", 1)[1] for note in table.notes[2:3]],
        "the key is not of type 'ssh-rsa'; the line is skipped",
        "not a hashed host name of the form |1|salt|hash; the line is skipped",
    ]
    assert table.notes[2].startswith("kh:9: not readable")


def test_hashed_names_are_found_and_only_then() -> None:
    key = base64.b64encode(wire("ssh-ed25519")).decode()
    table = table_of(known_hosts_line("gpu001", f"ssh-ed25519 {key}"))
    assert known(table, "gpu001") == ["plain"]
    assert known(table, "gpu002") == []
    assert list(table.entries("gpu001")) == []


def test_a_revoked_hashed_name_always_counts() -> None:
    key = base64.b64encode(wire("ssh-ed25519")).decode()
    table = table_of("@revoked " + known_hosts_line("gpu001", f"ssh-ed25519 {key}"))
    assert [entry.marker for entry in table.entries("gpu001")] == ["revoked"]


def test_several_files_are_read_in_order_and_missing_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(line_of("a", b"1"))
    (tmp_path / "two").write_text(line_of("a", b"2"))
    table = KnownHosts([tmp_path / "one", tmp_path / "none", tmp_path / "two", tmp_path])
    assert [entry.origin for entry in table.entries("a")] == [f"{tmp_path}/one:1", f"{tmp_path}/two:1"]
    assert len(table.notes) == 1


def test_five_thousand_lines_take_no_time() -> None:
    text = "".join(line_of(f"gpu{i:05d},10.{i >> 8}.{i & 255}.1") for i in range(5000))
    begun = time.process_time()
    table = table_of(text)
    for i in range(5000):
        assert list(table.entries(f"gpu{i:05d}"))
    assert time.process_time() - begun < 0.5


@given(st.binary(max_size=400))
def test_no_file_breaks_it(data: bytes) -> None:
    table = table_of(data)
    table.all_entries("gpu001")
    assert all(isinstance(note, str) for note in table.notes)


_FRAGMENT = st.sampled_from(
    ["gpu001", "*", "?", "!", ",", "[", "]", ":", "22", "|1|", "@revoked ", " ", "\t", "#", "=="]
)


@given(st.lists(_FRAGMENT, max_size=12))
def test_no_line_of_likely_parts_breaks_it(parts: list[str]) -> None:
    table_of("".join(parts) + " " + line_of("x")).all_entries("gpu001")


_NAME = st.text(string.ascii_lowercase + string.digits + "-.", min_size=1, max_size=8)
_HOST = st.one_of(
    _NAME,
    st.builds(lambda name, port: f"[{name}]:{port}", _NAME, st.integers(1, 65535)),
    st.text("ab*?", min_size=1, max_size=5),
    st.text("ab*?", min_size=1, max_size=4).map(lambda text: "!" + text),
)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen: install openssh-client")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(st.tuples(st.lists(_HOST, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=5),
    wanted=st.one_of(_NAME, st.text("ab", min_size=1, max_size=4)),
)
def test_finds_what_ssh_keygen_finds(lines: list[tuple[list[str], bool]], wanted: str) -> None:
    """`ssh-keygen -F` on the same file: the same line numbers, plain, hashed, with patterns and negation."""
    text = ""
    for index, (hosts, hashed) in enumerate(lines):
        line = line_of(",".join(hosts), bytes([97 + index]))
        if hashed:
            name = next((host for host in hosts if not set(host) & set("*?!")), None)
            line = known_hosts_line(name, line.split(" ", 1)[1].strip()) if name else line
        text += line
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "known_hosts"
        path.write_text(text)
        done = subprocess.run(
            ["ssh-keygen", "-F", wanted, "-f", str(path)], capture_output=True, text=True, check=False
        )
        table = KnownHosts([path])
    theirs = sorted(int(word.split()[-1]) for word in done.stdout.splitlines() if "found: line" in word)
    assert sorted(entry.line for entry in table.all_entries(wanted)) == theirs


def test_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    from sshd import make_key

    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen: install openssh-client")
    line = make_key(tmp_path / "key")
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert fingerprint(base64.b64decode(line.split()[1])) in said.stdout


def test_lookup_names() -> None:
    assert lookup_name("GPU001", 22) == "gpu001"
    assert lookup_name("gpu001", 2222) == "[gpu001]:2222"
    assert glob_pattern("a?*").fullmatch("abc\n")


# --- the policy ------------------------------------------------------------------------------------------------------

SHOWN = ShownKey("ssh-ed25519", "ssh-ed25519", wire("ssh-ed25519"))


def verdict(text: str, policy: str = "strict", *, port: int = 22, path: Path, **changes: object) -> str:
    """The reason's code, or `ok`."""
    path.write_text(text)
    given = SshSettings(
        hostname="gpu001", port=port, known_hosts_files=(str(path),), global_known_hosts_files=(), **changes
    )  # type: ignore[arg-type]
    try:
        HostKeys(policy).verify(given, SHOWN, "gpu001")
    except Failure as failure:
        return failure.reason.code
    return "ok"


@pytest.mark.parametrize(
    ("text", "port", "strict", "accept_new"),
    [
        ("", 22, "host_key_unknown", "ok"),
        (line_of("gpu001"), 22, "ok", "ok"),
        (line_of("gpu001", b"x"), 22, "host_key_changed", "host_key_changed"),
        (line_of("gpu001", b"x") + line_of("gpu001"), 22, "ok", "ok"),
        (line_of("gpu001", key_type="ssh-rsa"), 22, "host_key_changed", "host_key_changed"),
        ("@revoked " + line_of("*") + line_of("gpu001"), 22, "host_key_changed", "host_key_changed"),
        ("@cert-authority " + line_of("gpu001"), 22, "host_key_unknown", "ok"),
        (line_of("gpu001"), 2222, "ok", "ok"),  # like ssh: also looked up without the port
        (line_of("gpu001", b"x"), 2222, "host_key_unknown", "ok"),  # another server on the same host
        (line_of("[gpu001]:2222", b"x"), 2222, "host_key_changed", "host_key_changed"),
        (line_of("gpu*", b"x"), 22, "host_key_changed", "host_key_changed"),
    ],
)
def test_policy(text: str, port: int, strict: str, accept_new: str, tmp_path: Path) -> None:
    assert verdict(text, port=port, path=tmp_path / "kh") == strict
    assert verdict(text, "accept-new", port=port, path=tmp_path / "kh") == accept_new


@pytest.mark.parametrize(("setting", "code"), [("no", "ok"), ("accept-new", "ok"), ("yes", "host_key_unknown")])
def test_the_user_s_own_config_may_let_new_keys_in(setting: str, code: str, tmp_path: Path) -> None:
    assert verdict("", path=tmp_path / "kh", strict_host_key_checking=setting) == code
    changed = line_of("gpu001", b"x")
    assert verdict(changed, path=tmp_path / "kh", strict_host_key_checking=setting) == "host_key_changed"


def test_alias(tmp_path: Path) -> None:
    assert verdict(line_of("other"), path=tmp_path / "kh", host_key_alias="other") == "ok"
    assert verdict(line_of("gpu001"), path=tmp_path / "kh", host_key_alias="other") == "host_key_unknown"


def test_known_types_are_offered_first(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    path.write_text(line_of("gpu001", key_type="ssh-rsa") + "@cert-authority " + line_of("*.site"))
    keys = HostKeys("strict")
    one = SshSettings(hostname="gpu001", known_hosts_files=(str(path),), global_known_hosts_files=())
    assert keys.algorithms(one)[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    assert len(keys.algorithms(one)) == 6
    two = SshSettings(hostname="gpu001.site", known_hosts_files=(str(path),), global_known_hosts_files=())
    assert keys.algorithms(two)[0] == "ssh-ed25519-cert-v01@openssh.com"


def test_accept_new_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".ssh" / "known_hosts"
    given = SshSettings(hostname="gpu001", known_hosts_files=(str(path),), global_known_hosts_files=())
    HostKeys("accept-new").verify(given, SHOWN, "gpu001")
    assert path.read_text() == line_of("gpu001")
    assert path.stat().st_mode & 0o777 == 0o600


def test_revoked_host_keys_file(tmp_path: Path) -> None:
    good, revoked, path = line_of("gpu001"), tmp_path / "revoked", tmp_path / "kh"
    revoked.write_text(line_of("x", b"other").split(" ", 1)[1] + "# a comment\n")
    assert verdict(good, path=path, revoked_host_keys=str(revoked)) == "ok"
    revoked.write_text(line_of("x").split(" ", 1)[1])
    assert verdict(good, path=path, revoked_host_keys=str(revoked)) == "host_key_changed"
    revoked.write_bytes(b"SSHKRL\n\0")
    assert verdict(good, path=path, revoked_host_keys=str(revoked)) == "host_key_unknown"
    assert verdict(good, path=path, revoked_host_keys=str(tmp_path / "none")) == "host_key_unknown"


def test_new_names_are_hashed_when_the_config_says_so(tmp_path: Path) -> None:
    path = tmp_path / "kh"
    assert verdict("", "accept-new", path=path, hash_known_hosts=True) == "ok"
    assert path.read_text().startswith("|1|")
    assert verdict(path.read_text(), path=path) == "ok"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("a,c", ("a", "c")),
        ("c,a,zzz", ("c", "a")),
        ("+zzz", ("a", "b", "c")),
        ("-b", ("a", "c")),
        ("-*", ()),
        ("^c", ("c", "a", "b")),
        ("?", ("a", "b", "c")),
    ],
)
def test_host_key_algorithms(wanted: str, expected: tuple[str, ...]) -> None:
    assert apply_list(wanted, ("a", "b", "c")) == expected
