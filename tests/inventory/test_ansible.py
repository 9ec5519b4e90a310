"""Ansible inventories, INI and YAML: who is in them, how they are reached, and what is said of what cannot be read."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodectl.inventory import InventoryError, load_hosts
from nodectl.inventory.ansible import expand_hosts
from nodectl.inventory.ansible_vars import jump_of_proxy_command
from nodectl.model import Node


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


@pytest.fixture
def yml(tmp_path: Path) -> Path:
    return tmp_path / "hosts.yml"


def load(file: Path, text: str) -> dict[str, Node]:
    file.write_text(text)
    return {node.name: node for node in load_hosts(str(file))}


def refused(file: Path, text: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        load(file, text)
    return [problem.replace(f"{file}:", "f:") for problem in caught.value.problems]


INI = """\
# a head node, in no group
login.example.com   ansible_user=alice   rack=r1   # its rack is a playbook's business
10.0.0.9:2222

[gpu]
gpu[01:03].example.com ansible_port=23
rack-[a:c]
odd ansible_host=10.0.0.1 ansible_ssh_private_key_file="/keys/a b"

[gpu:vars]
ansible_user=root
ansible_ssh_common_args='-o ProxyJump=hop@bastion:2022 -o StrictHostKeyChecking=no'
driver_version=580

[old]
odd
me ansible_connection=local

[cluster:children]
gpu
old

[cluster:vars]
ansible_user = nobody
ansible_port = 24
"""


def test_ini(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = load(ini, INI)
    assert list(nodes) == [
        "login.example.com", "10.0.0.9", "gpu01.example.com", "gpu02.example.com", "gpu03.example.com",
        "rack-a", "rack-b", "rack-c", "odd", "me",
    ]  # fmt: skip
    assert nodes["login.example.com"] == Node(name="login.example.com", user="alice", origin=f"{ini}:2")
    assert nodes["10.0.0.9"] == Node(name="10.0.0.9", port=2222, origin=f"{ini}:3")
    assert nodes["gpu02.example.com"] == Node(
        name="gpu02.example.com", port=23, user="root", jump="hop@bastion:2022", groups=("cluster", "gpu"),
        origin=f"{ini}:6",
    )  # fmt: skip
    assert nodes["rack-b"].port == 24
    assert nodes["odd"] == Node(
        name="odd", address="10.0.0.1", port=24, user="root", identity_files=("/keys/a b",), jump="hop@bastion:2022",
        groups=("cluster", "gpu", "old"), origin=f"{ini}:8",
    )  # fmt: skip
    assert (nodes["me"].transport, nodes["me"].user) == ("local", "nobody")


YAML = """\
all:
  vars: {ansible_user: admin, ansible_port: 2200, some_list: [1, 2]}
  hosts:
    login:
  children:
    gpu:
      hosts:
        gpu[1:2]: {ansible_port: 23}
        2001:db8::1:
      vars: {ansible_user: root}
      children:
        h200:
          hosts: {gpu2: {ansible_host: 10.0.0.2}, gpu9: null}
          vars: {ansible_user: h}
    empty:
"""


def test_yaml(yml: Path) -> None:
    nodes = load(yml, YAML)
    brief = {name: (node.address, node.user, node.port, node.groups) for name, node in nodes.items()}
    assert brief == {
        "login": ("", "admin", 2200, ()),
        "gpu1": ("", "root", 23, ("gpu",)),
        "gpu2": ("10.0.0.2", "h", 23, ("gpu", "h200")),
        "2001:db8::1": ("", "root", 2200, ("gpu",)),
        "gpu9": ("", "h", 2200, ("gpu", "h200")),
    }
    assert nodes["gpu9"].origin == f"{yml}:13"


def test_what_ansible_inventory_list_writes(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    tree = {
        "_meta": {"hostvars": {"gpu1": {"ansible_host": "10.0.0.1", "x": {"y": 1}}, "gone": {"ansible_host": "h"}}},
        "all": {"children": ["ungrouped", "gpu"]},
        "gpu": {"hosts": ["gpu1", "gpu2"]},
        "ungrouped": {"hosts": ["login"]},
    }
    nodes = load(file, json.dumps(tree, indent=4))
    assert {name: (node.address, node.groups) for name, node in nodes.items()} == {
        "gpu1": ("10.0.0.1", ("gpu",)),
        "gpu2": ("", ("gpu",)),
        "login": ("", ()),
    }


def test_variables_beside_the_inventory(ini: Path) -> None:
    folder = ini.parent
    (folder / "group_vars" / "gpu").mkdir(parents=True)
    (folder / "host_vars").mkdir()
    (folder / "group_vars" / "all.yml").write_text(
        "---\nansible_user: everyone  # a comment\nansible_port: 22\nx: {{ y }}\n"
    )
    (folder / "group_vars" / "gpu" / "main.yml").write_text(
        'ansible_user: "gpu"\nsecret: !vault |\n  ansible_user: no\n'
    )
    (folder / "host_vars" / "gpu1.example.com.yml").write_text("ansible_port: 2222\n")
    nodes = load(ini, "login ansible_user=own\nspare\n[gpu]\ngpu1.example.com\n[all:vars]\nansible_user=least\n")
    assert {name: (node.user, node.port) for name, node in nodes.items()} == {
        "login": ("own", 22),
        "spare": ("everyone", 22),
        "gpu1.example.com": ("gpu", 2222),
    }
    (folder / "host_vars" / "spare").write_text("\nansible_host: '{{ address }}'\n")
    said = '"{{ address }}" is a template, which only Ansible can fill in: write the value'
    assert refused(ini, "spare\n") == [f"{folder}/host_vars/spare:2: ansible_host: {said}"]


def test_a_list_of_names_is_an_inventory(ini: Path) -> None:
    assert list(load(ini, "# ours\ngpu1\ngpu2\n\n[::1]:22\n2001:db8::2\n")) == ["gpu1", "gpu2", "::1", "2001:db8::2"]


def test_paths_begin_at_the_home_folder_or_where_the_command_was_started(
    ini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/usr")
    nodes = load(ini, "a ansible_private_key_file=keys/a\nb ansible_ssh_private_key_file=~/.ssh/b\n")
    assert [node.identity_files for node in nodes.values()] == [("/usr/keys/a",), ("/home/me/.ssh/b",)]


@pytest.mark.parametrize(
    ("arguments", "jump"),
    [
        ("-J bastion", "bastion"),
        ("-Ju@b:22,c", "u@b:22,c"),
        ("-o 'ProxyJump bastion'", "bastion"),
        ("-oProxyJump=bastion", "bastion"),
        ("-q -o ControlMaster=auto -C", None),
        ('-o ProxyCommand="ssh -W %h:%p -q root@bastion"', "root@bastion"),
        ('-o ProxyCommand="ssh -p 2222 -l root -W [%h]:%p bastion"', "root@bastion:2222"),
        ('-o ProxyCommand="/usr/bin/ssh -o BatchMode=yes -qW %h:%p bastion"', "bastion"),
        ("-o ProxyCommand=none", "none"),
    ],
)
def test_jump_hosts_in_ssh_arguments(yml: Path, arguments: str, jump: str | None) -> None:
    tree = {"all": {"hosts": {"n": {"ansible_ssh_common_args": arguments}}}}
    assert load(yml, json.dumps(tree))["n"].jump == jump


@pytest.mark.parametrize(
    "command", ["nc %h %p", "ssh bastion nc %h %p", "ssh -W %h:%p", "ssh -i k -W %h:%p b", "", "'"]
)
def test_other_proxy_commands_are_refused(command: str) -> None:
    with pytest.raises(InventoryError):
        jump_of_proxy_command(command)


HOW_TO_ASK_IT = (
    "nodectl runs no inventory scripts. Write its answer to a file: ansible-inventory -i FILE --list --yaml --output "
    "inventory.yaml"
)
NO_NAME = 'is no host name: letters, digits, "-", "_" and "." can stand in one'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["f:1: no hosts in this inventory"]),
        ("[gpu]\n", ["f:1: no hosts in this inventory"]),
        ("[gpu:vrs]\nx=1\n[a]\nb\n", ['f:1: section kind "vrs": expected hosts, children, vars; did you mean "vars"?']),
        ("[gpu\nn1\n", ['f:1: "[gpu": expected a section like [gpu] or [gpu:vars]']),
        ("[g p]\nn1\n", ['f:1: "[g p]": expected a section like [gpu] or [gpu:vars]']),
        ("n1 ansible_user='x\n", ["f:1: \"n1 ansible_user='x\": a quote is not closed"]),
        ("n1 n2\n", ['f:1: expected key=value after the host, found "n2"']),
        ("n1 ansible_usr=x\n", ['f:1: unknown variable "ansible_usr"; did you mean "ansible_user"?']),
        ("n1\n[all:vars]\nansible_hosts=x\n", ['f:3: unknown variable "ansible_hosts"; did you mean "ansible_host"?']),
        ("n1\n[all:vars]\nroot\n", ['f:3: expected key=value in [all:vars], found "root"']),
        ("n1 ansible_port=x\n", ['f:1: ansible_port: expected a port from 1 to 65535, found "x"']),
        ("n1 ansible_user=a;b\n", ['f:1: ansible_user: "a;b" is no user name']),
        ("n1 ansible_host=a/b\n", [f'f:1: ansible_host: "a/b" {NO_NAME}']),
        (
            "n1 ansible_host={{x}}\n",
            ['f:1: ansible_host: "{{x}}" is a template, which only Ansible can fill in: write the value'],
        ),
        (
            "n1 ansible_connection=docker\n",
            ['f:1: ansible_connection: expected ssh or local, found "docker": nodectl reaches nodes in no other way'],
        ),
        ("n1 ansible_ssh_common_args=x\n", ['f:1: ansible_ssh_common_args: "x" is no ssh option']),
        (
            "n1 ansible_ssh_common_args='-F other'\n",
            ["f:1: ansible_ssh_common_args: -F is not taken from an inventory: name the file with --ssh-config"],
        ),
        ("n1 ansible_private_key_file=\n", ["f:1: ansible_private_key_file: expected a path, found nothing"]),
        ("n[1:\n", ['f:1: "n[1:": a bracket is not closed']),
        ("n[3:1]\n", ['f:1: "n[3:1]": [3:1] is no range; Ansible\'s are like [01:10], [0:10:2] or [a:f]']),
        ("n[1-3]\n", ['f:1: "n[1-3]": [1-3] is no range; Ansible\'s are like [01:10], [0:10:2] or [a:f]']),
        ("n[01:100]\n", ['f:1: "n[01:100]": the ends of [01:100] need the same number of digits']),
        ("n[1:999999999]\n", ['f:1: "n[1:999999999]": more than 100000 names']),
        ("n[1:1000]x[1:1000]\n", ['f:1: "n[1:1000]x[1:1000]": more than 100000 names']),
        ("n1:ssh\n", ['f:1: "n1:ssh": expected a port after the colon, found "ssh"']),
        ("n1\n[a:children]\nnowhere\n", ["f:3: group \"nowhere\" is named as a child of a but is nowhere defined"]),
        ("n1\n[a:children]\nb\n[b:children]\na\n", ["f:2: groups a, b: their children lead back to them"]),
        ("a\x1bb\n", [f'f:1: "a\\x1bb" {NO_NAME}']),
        ("#!/bin/sh\necho\n", [
            f"f:1: a script; {HOW_TO_ASK_IT}",
        ]),
    ],
)  # fmt: skip
def test_wrong_ini_files(ini: Path, text: str, problems: list[str]) -> None:
    assert refused(ini, text) == [problem.replace("FILE", str(ini)) for problem in problems]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("all: {hosts: {n: [x]}}\n", ["f:1: expected variables, found a list"]),
        ("all: {hosts: [[x]]}\n", ["f:1: hosts: expected names, found a list"]),
        ("all: {hosts: n, childern: {}}\n", [
            'f:1: group all: unknown key "childern"; expected hosts, children, vars; did you mean "children"?',
        ]),
        ("all:\n  children:\n    g: [n]\n", ["f:3: group g: expected hosts:, children: or vars:, found a list"]),
        ("all:\n  hosts: n\n  vars:\n    ansible_user: [a]\n", ["f:4: ansible_user: expected text, found a list"]),
        ("all: {hosts: {n: {ansible_prt: }}}\n", ['f:1: unknown variable "ansible_prt"; did you mean "ansible_port"?']),
        ("all: {hosts: {n: {x: !vault a}}}\n", ["f:1: tag !vault: tags are not read"]),
        ("all: {children: {a: {children: {b: {children: {a: {hosts: n}}}}}}}\n", [
            "f:1: groups a, b: their children lead back to them"]),
    ],
)  # fmt: skip
def test_wrong_yaml_files(yml: Path, text: str, problems: list[str]) -> None:
    assert refused(yml, text) == problems


def test_groups_that_nest_too_deeply(ini: Path) -> None:
    text = "n1\n" + "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(70)) + "[g70]\nn2\n"
    assert refused(ini, text) == ["f:142: group g70: more than 64 levels of groups above it"]


def test_ranges() -> None:
    assert expand_hosts("n[1:3]") == (["n1", "n2", "n3"], None)
    assert expand_hosts("n[08:10]-[a:b]:22") == (["n08-a", "n08-b", "n09-a", "n09-b", "n10-a", "n10-b"], "22")
    assert expand_hosts("[0:4:2]") == (["0", "2", "4"], None)
    assert expand_hosts("[::1]:22") == (["::1"], "22")
    assert expand_hosts("::1") == (["::1"], None)


def test_two_thousand_hosts_load_quickly(ini: Path) -> None:
    lines = [
        f"gpu{n:04d} ansible_host=10.1.{n // 250}.{n % 250} ansible_port=2222 rack=r{n // 16}" for n in range(2000)
    ]
    ini.write_text("[gpu]\n" + "\n".join(lines) + "\n[gpu:vars]\nansible_user=root\n")
    start = time.process_time()
    assert len(load_hosts(str(ini))) == 2000
    assert time.process_time() - start < 0.8  # 0.2 s


SCRAPS = st.sampled_from(
    ["[", "]", "gpu", ":", "children", "vars", "\n", " ", "=", "ansible_host", "ansible_port", "22", "n1", "[1:3]", "'",
     "#", "all", "{{", "::1", "\x1b", "-J"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(SCRAPS, max_size=20).map("".join))
def test_any_text_is_an_ini_inventory_or_an_inventory_error(tmp_path: Path, text: str) -> None:
    try:
        nodes = load(tmp_path / "x.ini", text)
    except InventoryError as error:
        assert all(problem.startswith(f"{tmp_path}/x.ini:") and problem.isprintable() for problem in error.problems)
    else:
        assert nodes


TREE = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.sampled_from(["n1", "n[1:2]", "", "a b", "gpu"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "children", "vars", "gpu", "n1", "ansible_port"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(TREE)
def test_any_tree_is_a_yaml_inventory_or_an_inventory_error(yml: Path, tree: object) -> None:
    try:
        assert load(yml, json.dumps({"all": tree}))
    except InventoryError as error:
        assert all(problem.startswith(f"{yml}:1: ") for problem in error.problems)
