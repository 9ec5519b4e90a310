"""The user's ssh config, resolved as OpenSSH resolves it. Where ssh is installed, against `ssh -G` itself."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from pathlib import Path

import pytest

from nodectl.inventory import InventoryError
from nodectl.inventory import ssh_match as matching
from nodectl.inventory.sshconfig import SshConfig, SshSettings
from nodectl.model import Node

HOME = pwd.getpwuid(os.getuid()).pw_dir
ME = pwd.getpwuid(os.getuid()).pw_name
needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: apt-get install openssh-client")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config"


def resolve(file: Path, text: str, name: str = "gpu1", **fields: object) -> SshSettings:
    file.write_text(text)
    return SshConfig(file).resolve(Node(name=name, **fields))  # type: ignore[arg-type]


def test_without_any_config() -> None:
    plain = SshConfig(Path("none")).resolve(Node(name="GPU1"))
    assert (plain.alias, plain.hostname, plain.port, plain.user) == ("GPU1", "gpu1", 22, ME)
    assert plain.identity_files == () and plain.certificate_files == ()
    assert plain.known_hosts_files == (f"{HOME}/.ssh/known_hosts", f"{HOME}/.ssh/known_hosts2")
    assert (plain.proxy_jump, plain.proxy_command, plain.identity_agent) == ("", "", "")
    assert (plain.strict_host_key_checking, plain.connect_timeout_s, plain.unsupported) == ("ask", None, ())


EVERYTHING = """
# a comment
Host gpu*
  HostName %h.example.com
  Port = 2222
  User "admin"
  IdentityFile ~/.ssh/%u_%h
  IdentityFile /keys/a\\ b   # a comment
  CertificateFile /certs/%n
  IdentitiesOnly yes
  IdentityAgent ${SOCKET_FOLDER}/agent
  UserKnownHostsFile ~/known_%k "/with space/kh"
  HostKeyAlias cluster
  StrictHostKeyChecking accept-new
  ConnectTimeout 1m30s
  ServerAliveInterval 5
  ServerAliveCountMax 2
  AddressFamily inet6
  BindAddress 10.0.0.1
  HostKeyAlgorithms ^ssh-ed25519
  RevokedHostKeys /etc/revoked
  HashKnownHosts yes
  GSSAPIAuthentication yes
  ProxyJump admin@bastion:2200,[2001:db8::1]:22
  ProxyCommand never taken
"""


def test_every_option_that_a_transport_needs(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKET_FOLDER", "/run/me")
    assert resolve(config_file, EVERYTHING) == SshSettings(
        alias="gpu1",
        hostname="gpu1.example.com",
        port=2222,
        user="admin",
        identity_files=(f"{HOME}/.ssh/{ME}_gpu1.example.com", "/keys/a b"),
        identities_only=True,
        certificate_files=("/certs/gpu1",),
        identity_agent="/run/me/agent",
        pubkey_authentication=True,
        known_hosts_files=(f"{HOME}/known_cluster", "/with space/kh"),
        global_known_hosts_files=("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
        revoked_host_keys="/etc/revoked",
        host_key_alias="cluster",
        host_key_algorithms="^ssh-ed25519",
        hash_known_hosts=True,
        strict_host_key_checking="accept-new",
        proxy_jump="admin@bastion:2200,[2001:db8::1]:22",
        proxy_command="",
        connect_timeout_s=90.0,
        server_alive_interval_s=5.0,
        server_alive_count_max=2,
        address_family="inet6",
        bind_address="10.0.0.1",
        unsupported=("GSSAPIAuthentication",),
    )


def test_the_nodes_own_fields_win(config_file: Path) -> None:
    own = resolve(
        config_file, EVERYTHING.replace("${SOCKET_FOLDER}", ""), user="root", port=22, identity_files=("/k",),
        known_hosts=("/kh",), jump="other:23",
    )  # fmt: skip
    assert (own.user, own.port, own.identity_files, own.known_hosts_files) == ("root", 22, ("/k",), ("/kh",))
    assert own.proxy_jump == "other:23"
    assert resolve(config_file, EVERYTHING.replace("${SOCKET_FOLDER}", ""), jump="none").proxy_jump == ""
    assert resolve(config_file, "ProxyCommand nc %h %p", jump="b").proxy_command == ""


def test_a_node_is_looked_up_by_its_address_and_else_by_its_name(config_file: Path) -> None:
    text = "Host gpu1\n Port 1\nHost mgmt-1\n HostName 10.0.0.1\n Port 2\n"
    assert resolve(config_file, text).port == 1
    by_address = resolve(config_file, text, address="mgmt-1")
    assert (by_address.alias, by_address.hostname, by_address.port) == ("mgmt-1", "10.0.0.1", 2)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("ProxyCommand none\nProxyJump b", "proxy_jump", ""),
        ("ProxyJump none\nProxyCommand x", "proxy_command", "x"),
        ("ProxyCommand exec nc '%h' %p # not a comment", "proxy_command", "exec nc '%h' %p # not a comment"),
        ("IdentityFile none", "identity_files", ("none",)),
        ("UserKnownHostsFile none", "known_hosts_files", ("none",)),
        ("IdentityAgent none", "identity_agent", "none"),
        ("IdentityAgent SSH_AUTH_SOCK", "identity_agent", ""),
        ("IdentityAgent $NODECTL_TEST_UNSET", "identity_agent", "none"),
        ("ConnectTimeout none", "connect_timeout_s", None),
        ("ConnectTimeout 0", "connect_timeout_s", None),
        ("StrictHostKeyChecking off", "strict_host_key_checking", "no"),
        ("PubkeyAuthentication no", "pubkey_authentication", False),
        ("IdentityFile /k%%%p", "identity_files", ("/k%22",)),
        ("PORT=23", "port", 23),
        ("Match all\nPort 24", "port", 24),
        ("Match user nobody-here\nPort 24", "port", 22),
        ("User root\nMatch user root\nPort 24", "port", 24),
        ("Tag t\nMatch tagged t*\nPort 24", "port", 24),
        ("Match !host gpu1\nPort 24", "port", 22),
        ("Host !gpu2 gpu?\nPort 24", "port", 24),
        ("Host gpu1 !gpu?\nPort 24", "port", 22),
        ("Host gpu[1]\nPort 24", "port", 22),
        ("Host gpu1 # other\nPort 24", "port", 24),
        ("HostName x.y\nMatch host x.*\nPort 24", "port", 24),
        ("HostName x.y\nMatch originalhost x.*\nPort 24", "port", 22),
        ("Match final all\nPort 24", "port", 24),
        ("HostName x.y\nHost x.y\nPort 24", "port", 22),
        ("HostName x.y\nMatch final\nUser u\nHost x.y\nPort 24", "port", 24),
    ],
)
def test_one_line_or_two(config_file: Path, text: str, field: str, value: object) -> None:
    assert getattr(resolve(config_file, text + "\n"), field) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Port x\n", 'CFG:1: port: expected a port from 1 to 65535, found "x"'),
        ("\nPort\n", 'CFG:2: expected a keyword and its value, found "Port"'),
        ("User 'x\n", "CFG:1: a quote is not closed: \"'x\""),
        ("Host # none\n", "CFG:1: Host has no value"),
        ("Match user\n", "CFG:1: Match user needs a value"),
        ("Match user x all\n", "CFG:1: Match all cannot be combined with other conditions"),
        ("IdentitiesOnly perhaps\n", 'CFG:1: identitiesonly: expected one of yes, true, no, false, found "perhaps"'),
        ("ConnectTimeout 5 parsecs\nConnectTimeout 1x\n", None),
        ("ConnectTimeout 1x\n", 'CFG:1: connecttimeout: expected a time like 10 or 1m30s, found "1x"'),
        ("HostName a/b\n", 'CFG:1: "a/b" is no host name: letters, digits, "-", "_" and "." can stand in one'),
        ("HostName %p\n", 'CFG:1: %p means nothing in "%p"; known here: %% %h'),
        ("User a;b\n", 'CFG:1: "a;b" is no user name'),
        ("IdentityFile ${NO_SUCH_VARIABLE}/k\n", "CFG:1: ${NO_SUCH_VARIABLE} is not set in the environment"),
        ("IdentityFile ~no-such-user-here/k\n", None),
        ("ProxyJump a,\n", 'CFG:1: ProxyJump: "": the host is missing'),
        ("ProxyCommand nc %z\n", None),
        ("Include CFG\n", None),
    ],
)  # fmt: skip
def test_wrong_configs(config_file: Path, text: str, said: str | None) -> None:
    try:
        resolve(config_file, text.replace("CFG", str(config_file)))
    except InventoryError as error:
        assert str(config_file) in str(error) or "no-such-user-here" in str(error)
        assert said is None or str(error).replace(str(config_file), "CFG") == said
    else:
        assert said is None


def test_a_config_that_is_not_there_or_that_others_can_write(config_file: Path) -> None:
    with pytest.raises(InventoryError, match="cannot read this ssh config: No such file"):
        SshConfig(config_file)
    config_file.write_text("Port 23\n")
    config_file.chmod(0o666)
    assert SshConfig(config_file).resolve(Node(name="x")).port == 23  # named by the user, as with ssh -F
    including = config_file.with_name("including")
    including.write_text(f"Include {config_file}\n")
    with pytest.raises(InventoryError, match="others than you can write this ssh config"):
        SshConfig(including)


def test_include(tmp_path: Path, config_file: Path) -> None:
    parts = tmp_path / "conf.d"
    parts.mkdir()
    (parts / "10-gpu").write_text("User first\nHost gpu2\n Port 2\n")
    (parts / "20-more").write_text("User second\nCompression yes\nPort 3\n")
    text = f"Host gpu*\n Include {parts}/* {parts}/none*\n IdentityFile /k\nHost *\n Port 4\n"
    one, two, other = (resolve(config_file, text, name) for name in ("gpu1", "gpu2", "login"))
    assert (one.user, one.port, one.identity_files) == ("first", 3, ("/k",))
    assert (two.user, two.port, two.identity_files) == ("first", 2, ("/k",))
    assert (other.user, other.port, other.identity_files) == (ME, 4, ())


def test_the_users_file_comes_before_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Port 1\nInclude more\n")
    (tmp_path / ".ssh" / "more").write_text("User u\n")
    (tmp_path / "system").write_text("Port 2\nConnectTimeout 9\n")
    monkeypatch.setattr("nodectl.inventory.sshconfig._me", lambda: ("me", tmp_path))
    found = SshConfig(system=tmp_path / "system").resolve(Node(name="x"))
    assert (found.port, found.user, found.connect_timeout_s) == (1, "u", 9.0)


def test_match_exec_runs_each_different_command_once(config_file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    config_file.write_text(
        f'Match originalhost gpu* exec "echo once >> {log}"\n Port 1\n'
        f'Match exec "echo %n >> {log}; test %n = gpu3"\n User u\n'
    )
    config = SshConfig(config_file)
    found = [config.resolve(Node(name=f"gpu{number}")) for number in range(5)]
    assert [one.port for one in found] == [1] * 5
    assert [one.user for one in found] == [ME, ME, ME, "u", ME]
    assert config.resolve(Node(name="login")).port == 22
    assert log.read_text().split() == ["once", "gpu0", "gpu1", "gpu2", "gpu3", "gpu4", "login"]
    assert config.warnings == []


def test_match_exec_is_not_run_for_a_thousand_hosts(config_file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    config_file.write_text(f'Match exec "echo %n >> {log}"\n Port 1\n')
    config = SshConfig(config_file)
    assert {config.resolve(Node(name=f"gpu{number}")).port for number in range(300)} == {1}
    assert len(log.read_text().split()) == matching.MAX_EXEC
    assert len(config.warnings) == 1
    assert config.warnings[0].startswith(f"{config_file}:1: Match exec would run a command for each of very many hosts")


def test_match_exec_that_hangs_counts_as_no(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "EXEC_TIMEOUT_S", 0.1)
    config_file.write_text('Match exec "sleep 5"\n Port 1\n')
    config = SshConfig(config_file)
    assert config.resolve(Node(name="x")).port == 22
    assert "took too long; counted as no" in config.warnings[0]


def test_two_thousand_hosts_with_a_block_each_resolve_quickly(config_file: Path) -> None:
    blocks = "".join(f"Host gpu{n}\n HostName 10.0.{n // 250}.{n % 250}\n Port {n + 1}\n" for n in range(2000))
    config_file.write_text(blocks + "Host *\n User u\n ProxyJump bastion\n")
    start = time.process_time()
    config = SshConfig(config_file)
    found = [config.resolve(Node(name=f"gpu{n}")) for n in range(2000)]
    assert time.process_time() - start < 1.0  # 0.15 s
    assert [one.port for one in found] == list(range(1, 2001))


def test_no_ssh_on_the_machine(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    config_file.write_text("CanonicalizeHostname yes\nMatch localnetwork 10.0.0.0/8\n Port 1\n")
    config = SshConfig(config_file)
    assert config.resolve(Node(name="x")).port == 22
    assert [warning.replace(str(config_file), "CFG") for warning in config.warnings] == [
        "CFG:2: Match localnetwork needs OpenSSH's ssh, which is not here; counted as no",
        "CanonicalizeHostname needs OpenSSH's ssh, which is not here: names are taken as they are",
    ]


def fake_ssh(folder: Path, script: str) -> None:
    (folder / "bin").mkdir()
    program = folder / "bin" / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_condition_that_only_ssh_can_tell_is_asked_once(
    tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(
        tmp_path, f'echo run >> {tmp_path}/log; cat "$3" >> {tmp_path}/log; echo hostkeyalias nodectl-condition-holds'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    config_file.write_text(
        "Match localnetwork 10.0.0.0/8 originalhost gpu*\n Port 1\nMatch !version OpenSSH_1*\n User u\n"
    )
    config = SshConfig(config_file)
    found = [config.resolve(Node(name=f"gpu{n}")) for n in range(100)] + [config.resolve(Node(name="login"))]
    assert [one.port for one in found] == [1] * 100 + [22]
    assert {one.user for one in found} == {ME}
    asked = (tmp_path / "log").read_text()
    assert asked.count("run") == 2
    assert 'Match localnetwork "10.0.0.0/8"' in asked and 'Match version "OpenSSH_1*"' in asked


def test_what_ssh_refuses_is_said_with_the_line(
    tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, "echo 'Unsupported Match attribute moonphase' >&2; exit 255")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    config_file.write_text("\nMatch moonphase full\n Port 1\n")
    with pytest.raises(InventoryError) as caught:
        SshConfig(config_file).resolve(Node(name="x"))
    said = str(caught.value).replace(str(config_file), "CFG")
    assert said == 'CFG:2: Match moonphase: `ssh -G` says "Unsupported Match attribute moonphase"'


def test_canonicalize_is_left_to_ssh(tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "\n".join(
        f"echo '{line}'"
        for line in ("hostname gpu1.example.com", "port 2200", "user them", "identityfile ~/.ssh/id_rsa", "proxyjump b")
    )
    fake_ssh(tmp_path, f'echo "$@" >> {tmp_path}/log\n{answer}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    config_file.write_text("CanonicalizeHostname yes\nCanonicalDomains example.com\n")
    config = SshConfig(config_file)
    found = config.resolve(Node(name="gpu1"))
    assert (found.hostname, found.port, found.user, found.proxy_jump) == ("gpu1.example.com", 2200, "them", "b")
    assert found.identity_files == ()  # ssh's own list is no configured one
    own = config.resolve(Node(name="gpu1", user="me", port=23, jump="none", identity_files=("/k",)))
    assert (own.port, own.user, own.proxy_jump, own.identity_files) == (23, "me", "", ("/k",))
    config.resolve(Node(name="gpu1", identity_files=("/k",)))
    assert (tmp_path / "log").read_text().splitlines() == [
        f"-G -F {config_file} -- gpu1",
        f"-G -F {config_file} -l me -p 23 -- gpu1",
    ]
