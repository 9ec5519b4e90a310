"""Logging in with certificates of users and hosts."""

from __future__ import annotations

import pytest
from login_kit import Agent, keygen
from sshd import SshFleet, make_key
from transport_kit import Opener, run

from nodectl.model import Unreachable


@pytest.fixture
def certified(own_fleet: SshFleet) -> SshFleet:
    """A server that trusts a CA for users and shows a host certificate of it."""
    fleet = own_fleet
    ca = fleet.folder / "ca"
    make_key(ca)
    server = fleet.add(
        "gpu001",
        known=False,
        options={
            "TrustedUserCAKeys": f"{ca}.pub",
            "AuthorizedKeysFile": "none",
            "HostCertificate": str(fleet.folder / "gpu001" / "host_key-cert.pub"),
        },
    )
    keygen("-s", ca, "-h", "-I", "gpu001", "-n", f"{server.address},gpu001", "-V", "+1h", f"{server.host_key}.pub")
    fleet.known_hosts.write_text(f"@cert-authority [127.*]:* {ca.with_name('ca.pub').read_text()}")
    return fleet


def sign_user(fleet: SshFleet, *options: str) -> None:
    keygen("-s", fleet.folder / "ca", "-I", "me", "-n", fleet.user, *options, f"{fleet.identity}.pub")


def test_certificates_of_host_and_user(certified: SshFleet, opened: Opener) -> None:
    sign_user(certified, "-V", "+1h")
    certified.start()
    sink, reply = run(opened(), certified.node("gpu001"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)
    assert "ED25519-CERT" in certified["gpu001"].log.read_text()


def test_certificate_file_elsewhere(certified: SshFleet, opened: Opener) -> None:
    sign_user(certified, "-V", "+1h")
    elsewhere = certified.folder / "elsewhere.pub"
    (certified.folder / "user_key-cert.pub").rename(elsewhere)
    certified.start()
    transports = opened(settings={"certificate_files": (str(elsewhere),)})
    assert run(transports, certified.node("gpu001"), "true\n")[1].reason is None


def test_user_certificate_with_the_key_in_the_agent(certified: SshFleet, opened: Opener, agent: Agent) -> None:
    sign_user(certified, "-V", "+1h")
    agent.add(certified.identity)
    certified.start()
    transports = opened(settings={"identity_agent": agent.path, "identities_only": False})
    sink, reply = run(transports, certified.node("gpu001", identity_files=()), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_expired_user_certificate_is_named(certified: SshFleet, opened: Opener) -> None:
    sign_user(certified, "-V", "20200101:20200102")
    certified.start()
    _, reply = run(opened(), certified.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.AUTH.value
    assert "its certificate expired on 2020-01-02" in reply.reason.text
    assert "renewed" in reply.reason.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-h", "-n", "other.example", "-V", "+1h"], "it is not for 127."),
        (["-h", "-n", "gpu001", "-V", "20200101:20200102"], "its certificate is not accepted"),
    ],
)
def test_host_certificate_that_does_not_hold(
    certified: SshFleet, opened: Opener, options: list[str], words: str
) -> None:
    keygen("-s", certified.folder / "ca", "-I", "gpu001", *options, f"{certified['gpu001'].host_key}.pub")
    certified.start()
    _, reply = run(opened(), certified.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.HOST_KEY_UNKNOWN.value
    assert words in reply.reason.text


def test_host_certificate_of_another_authority(certified: SshFleet, opened: Opener) -> None:
    stranger = certified.folder / "stranger"
    make_key(stranger)
    server = certified["gpu001"]
    keygen("-s", stranger, "-h", "-I", "x", "-n", server.address, "-V", "+1h", f"{server.host_key}.pub")
    certified.start()
    _, reply = run(opened(), certified.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.HOST_KEY_UNKNOWN.value
    assert "signed by a CA that is not known" in reply.reason.text


def test_revoked_authority(certified: SshFleet, opened: Opener) -> None:
    public = (certified.folder / "ca.pub").read_text()
    with certified.known_hosts.open("a") as file:
        file.write(f"@revoked * {public}")
    sign_user(certified, "-V", "+1h")
    certified.start()
    _, reply = run(opened(), certified.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.HOST_KEY_CHANGED.value
    assert "@revoked" in reply.reason.text
