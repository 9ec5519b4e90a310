"""Keys, certificates and the agent, with a real sshd, a real ssh-keygen and a real ssh-agent."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from login_kit import PASSPHRASE, Agent, authorize, encrypted_key, keygen
from sshd import SshFleet, make_key
from transport_kit import Opener, run

from nodectl.model import Unreachable


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_every_kind_of_key_file(server: SshFleet, opened: Opener, kind: str, form: str) -> None:
    if kind == "ed25519" and form != "RFC4716":
        pytest.skip("ssh-keygen writes ed25519 keys in its own format only")
    key = server.folder / "key"
    keygen("-t", kind, "-N", "", "-m", form, "-f", key)
    authorize(server, key.with_name("key.pub"))
    sink, reply = run(opened(), server.node("gpu001", identity_files=(str(key),)), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_encrypted_key_without_agent(server: SshFleet, opened: Opener, form: str) -> None:
    key = server.folder / "locked"
    keygen("-t", "ecdsa", "-N", PASSPHRASE, "-m", form, "-f", key)
    _, reply = run(opened(), server.node("gpu001", identity_files=(str(key),)))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.AUTH.value
    assert f"{key} is encrypted and not in the agent (ssh-add {key})" in reply.reason.text
    assert "there was no key to offer" in reply.reason.text
    assert PASSPHRASE not in repr(reply)


def test_encrypted_key_that_the_agent_holds(server: SshFleet, opened: Opener, agent: Agent) -> None:
    key = encrypted_key(server.folder / "locked")
    authorize(server, key.with_name("locked.pub"))
    key.with_name("locked.pub").unlink()  # the public half is also in the private file
    agent.add(key)
    transports = opened(settings={"identity_agent": agent.path})
    sink, reply = run(transports, server.node("gpu001", identity_files=(str(key),)), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_agent_key_with_no_file_at_all(server: SshFleet, opened: Opener, agent: Agent, kind: str) -> None:
    key = server.folder / "mine"
    keygen("-t", kind, "-N", "", "-f", key)
    authorize(server, key.with_name("mine.pub"))
    agent.add(key)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    sink, reply = run(transports, server.node("gpu001", identity_files=()), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_public_file_names_the_key_in_the_agent(server: SshFleet, opened: Opener, agent: Agent) -> None:
    """IdentityFile id.pub with IdentitiesOnly: the way to choose one of many agent keys."""
    for number in range(8):
        make_key(server.folder / f"other{number}")
        agent.add(server.folder / f"other{number}")
    agent.add(server.identity)
    public = server.folder / "chosen.pub"
    shutil.copy(server.identity.with_name("user_key.pub"), public)
    transports = opened(settings={"identity_agent": agent.path})
    sink, reply = run(transports, server.node("gpu001", identity_files=(str(public),)), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_too_many_agent_keys_say_what_to_do(server: SshFleet, opened: Opener, agent: Agent) -> None:
    for number in range(8):
        make_key(server.folder / f"other{number}")
        agent.add(server.folder / f"other{number}")
    agent.add(server.identity)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    _, reply = run(transports, server.node("gpu001", identity_files=()))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.AUTH.value
    assert "Too many authentication failures" in reply.reason.text
    assert "IdentitiesOnly" in reply.reason.hint


def test_the_key_that_worked_is_offered_first_from_then_on(server: SshFleet, opened: Opener, agent: Agent) -> None:
    for number in range(3):
        make_key(server.folder / f"other{number}")
        agent.add(server.folder / f"other{number}")
    agent.add(server.identity)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    node = server.node("gpu001", identity_files=())
    for _ in range(3):
        assert run(transports, node, "true\n")[1].reason is None
    assert server["gpu001"].log.read_text().count("Failed publickey") == 3


def test_agent_for_many_nodes_at_once(server: SshFleet, opened: Opener, agent: Agent) -> None:
    agent.add(server.identity)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False}, fanout=16)
    node = server.node("gpu001", identity_files=())
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: run(transports, node, "true\n")[1], range(32)))
    assert [reply.reason for reply in replies] == [None] * 32


def test_agent_that_hangs_costs_no_more_than_the_deadline(server: SshFleet, opened: Opener, agent: Agent) -> None:
    agent.add(server.identity)
    agent.pause(True)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    begun = time.monotonic()
    _, reply = run(transports, server.node("gpu001", identity_files=()), connect_timeout_s=0.7)
    assert time.monotonic() - begun < 1.5
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.TIMEOUT.value
    assert "ssh-agent" in reply.reason.hint


def test_agent_that_hangs_while_signing(server: SshFleet, opened: Opener, agent: Agent) -> None:
    agent.add(server.identity)
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    node = server.node("gpu001", identity_files=())
    assert run(transports, node, "true\n")[1].reason is None
    agent.pause(True)
    _, reply = run(transports, node, connect_timeout_s=0.7)
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.TIMEOUT.value
    agent.pause(False)
    assert run(transports, node, "true\n")[1].reason is None


def test_agent_that_refuses_to_sign_leaves_the_other_keys(
    server: SshFleet, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that needs a confirmation nobody gives (ssh-add -c): the next key is tried on the same connection."""
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":99")
    agent = Agent(tmp_path)
    try:
        confirmed = server.folder / "confirmed"
        make_key(confirmed)
        agent.add(confirmed, "-c")
        agent.add(server.identity)
        transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
        sink, reply = run(transports, server.node("gpu001", identity_files=()), "echo in\n")
        assert (sink.data, reply.reason) == (b"in\n", None)
        assert server["gpu001"].log.read_text().count("Connection from") == 1
    finally:
        agent.stop()


def test_no_agent_and_no_key(server: SshFleet, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    transports = opened(settings={"identity_agent": "", "identities_only": False})
    _, reply = run(transports, server.node("gpu001", identity_files=()))
    assert reply.reason is not None
    assert "there was no key to offer" in reply.reason.text
    assert "no ssh-agent is running" in reply.reason.text


def test_agent_socket_that_leads_nowhere(server: SshFleet, opened: Opener, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    path = tmp_path / "dead.sock"
    listener.bind(str(path))
    listener.close()
    transports = opened(settings={"identity_agent": str(path), "identities_only": False})
    _, reply = run(transports, server.node("gpu001", identity_files=()))
    assert reply.reason is not None
    assert f"the ssh-agent at {path} does not answer" in reply.reason.text


def test_agent_holds_no_keys(server: SshFleet, opened: Opener, agent: Agent) -> None:
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    _, reply = run(transports, server.node("gpu001", identity_files=()))
    assert reply.reason is not None
    assert "the ssh-agent holds no keys" in reply.reason.text


def test_agent_that_talks_nonsense(server: SshFleet, opened: Opener, tmp_path: Path) -> None:
    path = str(tmp_path / "mad.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"\xff\xff\xff\xff" * 100)
            connection.recv(4096)

    thread = threading.Thread(target=answer)
    thread.start()
    transports = opened(settings={"identity_agent": path, "identities_only": False})
    _, reply = run(transports, server.node("gpu001", identity_files=()))
    thread.join()
    listener.close()
    assert reply.reason is not None
    assert "makes no sense" in reply.reason.text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pubkey_authentication": False}, "keys are turned off (PubkeyAuthentication no)"),
        ({"identity_files": ("none",)}, "there was no key to offer"),
        ({"identity_files": ("/nonexistent",), "unsupported": ("GSSAPIAuthentication",)}, "no key to offer"),
    ],
)
def test_what_the_config_rules_out(server: SshFleet, opened: Opener, settings: dict[str, object], words: str) -> None:
    _, reply = run(opened(settings=settings), server.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.AUTH.value
    assert words in reply.reason.text
    assert ("GSSAPIAuthentication" in reply.reason.hint) == ("unsupported" in settings)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a private key that can be read"),
        (b"hello\n", "is not a private key that can be read"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "is not a private key"),
        (b"\xff\xfe" * 100, "is not a private key that can be read"),
    ],
)
def test_broken_key_file(server: SshFleet, opened: Opener, content: bytes, words: str) -> None:
    path = server.folder / "broken"
    path.write_bytes(content)
    _, reply = run(opened(), server.node("gpu001", identity_files=(str(path),)))
    assert reply.reason is not None
    assert words in reply.reason.text


def test_named_key_that_does_not_exist(server: SshFleet, opened: Opener) -> None:
    _, reply = run(opened(), server.node("gpu001", identity_files=("/nonexistent/key",)))
    assert reply.reason is not None
    assert "/nonexistent/key does not exist" in reply.reason.text
