"""Our reader of ssh_config says what ssh itself says."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodectl.inventory import InventoryError
from nodectl.inventory.ssh_match import ask_ssh, list_fits
from nodectl.inventory.sshconfig import SshConfig
from nodectl.model import Node

HOME = pwd.getpwuid(os.getuid()).pw_dir
ME = pwd.getpwuid(os.getuid()).pw_name
needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: apt-get install openssh-client")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config"


PATTERNS = ["*", "gpu*", "gpu?", "gpu1", "!gpu1", "10.0.*", "*.example.com", "login", "gpu2.example.com", "g*1"]
HOSTS = ["gpu1", "gpu2", "GPU1", "login", "10.0.0.7", "gpu2.example.com"]
LINES = st.sampled_from(
    [
        "Port 2201", "Port=2202", "User alice", 'User "bob"', "HostName %h.example.com", "HostName 10.0.0.9",
        "HostName Login", "IdentityFile /k1", "IdentityFile /k2 # second", "IdentityFile '/k 3'", "ProxyJump jump1",
        "ProxyJump none", "ProxyCommand nc %h %p", "ProxyCommand none", "HostKeyAlias one", "IdentitiesOnly yes",
        "StrictHostKeyChecking no", "StrictHostKeyChecking accept-new", "ConnectTimeout 1m5s", "ConnectTimeout 7",
        "UserKnownHostsFile /kh1 /kh2", "UserKnownHostsFile /kh3", "IdentityAgent /agent", "AddressFamily inet",
        "CertificateFile /c1", "CertificateFile /c2", "ServerAliveInterval 30", "Compression yes", "  # comment", "",
        "Include {folder}/extra*",
    ]
)  # fmt: skip
PATTERN = st.sampled_from(PATTERNS)
BLOCKS = st.one_of(
    st.lists(PATTERN, min_size=1, max_size=3).map(lambda words: "Host " + " ".join(words)),
    st.tuples(
        st.sampled_from(["", "final ", "canonical ", "!final "]),
        st.sampled_from(["host", "!host", "originalhost", "user", "localuser"]),
        st.lists(PATTERN, min_size=1, max_size=2).map(",".join) | st.just("alice,root"),
    ).map(lambda parts: f"Match {parts[0]}{parts[1]} {parts[2]}"),
    st.sampled_from(["Match all", "Match final all", "Match final", 'Match exec "test %h = gpu1"']),
)
FILE = st.lists(LINES | LINES | BLOCKS, max_size=14)


def told_by_ssh(config: Path, host: str, options: list[str]) -> dict[str, object]:
    answer = ask_ssh(["-F", str(config), *options, "--", host])
    one = {key: " ".join(lines[0]) for key, lines in answer.items()}
    files = [words[0] for words in answer.get("identityfile", [])]
    strict = {"true": "yes", "false": "no"}.get(one["stricthostkeychecking"], one["stricthostkeychecking"])
    timeout = one["connecttimeout"]
    return {
        "hostname": one["hostname"],
        "port": int(one["port"]),
        "user": one["user"],
        "identity_files": () if any("/.ssh/id_" in file for file in files) else tuple(files),
        "certificate_files": tuple(words[0] for words in answer.get("certificatefile", [])),
        "identities_only": one["identitiesonly"] == "yes",
        "identity_agent": one.get("identityagent", ""),
        "known_hosts_files": tuple(one["userknownhostsfile"].split()),
        "host_key_alias": one.get("hostkeyalias", ""),
        "strict_host_key_checking": strict,
        "proxy_jump": one.get("proxyjump", "").replace("none", ""),
        "proxy_command": one.get("proxycommand", "").replace("none", ""),
        "connect_timeout_s": None if timeout == "none" else float(timeout),
        "server_alive_interval_s": float(one["serveraliveinterval"]),
        "address_family": one["addressfamily"],
    }


@needs_ssh
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    main=FILE, extra=FILE, host=st.sampled_from(HOSTS), port=st.none() | st.just(99), user=st.none() | st.just("alice")
)
def test_says_what_ssh_says(
    tmp_path: Path, main: list[str], extra: list[str], host: str, port: int | None, user: str | None
) -> None:
    file = tmp_path / "config"
    file.write_text("\n".join(main).replace("{folder}", str(tmp_path)) + "\n")
    (tmp_path / "extra.conf").write_text("\n".join(extra).replace("{folder}", "/nonexistent") + "\n")
    options = (["-p", str(port)] if port else []) + (["-l", user] if user else [])
    expected = told_by_ssh(file, host, options)
    found = SshConfig(file).resolve(Node(name=host, port=port, user=user))
    assert {key: getattr(found, key) for key in expected} == expected


@needs_ssh
@pytest.mark.parametrize("host", HOSTS)
def test_ssh_of_this_machine_agrees_on_its_own_config(host: str) -> None:
    """The real /etc/ssh/ssh_config with all that it includes; ssh reads it with no -F."""
    answer = ask_ssh(["--", host])
    found = SshConfig().resolve(Node(name=host))
    assert found.hostname == answer["hostname"][0][0]
    assert found.port == int(answer["port"][0][0])
    assert found.hash_known_hosts == (answer["hashknownhosts"][0][0] == "yes")


@needs_ssh
def test_ask_ssh_passes_on_what_ssh_refuses(config_file: Path) -> None:
    config_file.write_text("NoSuchOption yes\n")
    with pytest.raises(InventoryError, match="Bad configuration option: nosuchoption"):
        ask_ssh(["-F", str(config_file), "--", "x"])
    assert subprocess.run(["ssh", "-V"], capture_output=True, check=False).returncode == 0


@given(st.text("ab*?!,", max_size=8), st.text("ab", max_size=4))
def test_pattern_lists_never_raise(patterns: str, text: str) -> None:
    assert list_fits(patterns, text) in (True, False)
