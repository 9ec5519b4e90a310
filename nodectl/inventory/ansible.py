"""An Ansible inventory as nodes: groups, their variables by Ansible's precedence, and connection variables as fields.

Read are the files in Ansible's INI and YAML forms (what `ansible-inventory --list` writes, too), and beside them
`group_vars/` and `host_vars/` as far as they set connection variables on a line of their own. All else that playbooks
put into variables is passed over. Nothing is run, and Ansible need not be there.
"""

from __future__ import annotations

import re
from pathlib import Path

from nodectl.inventory.ansible_vars import CONNECTION_VARIABLES, Variables, connection
from nodectl.inventory.errors import InventoryError
from nodectl.inventory.nodeset import MAX_NODES
from nodectl.inventory.target import host_problem
from nodectl.model import Node
from nodectl.strict_yaml import quoted, read_text

MAX_GROUP_DEPTH = 64
"""Groups within groups; real inventories have about five levels, and a circle would have no end."""

_ROOTS = ("all", "ungrouped")
_VARIABLE_LINE = re.compile(r"(ansible_[a-z_]+)\s*:\s*(.*?)\s*\Z")
_VARS_SUFFIXES = ("", ".yml", ".yaml", ".json")
_RANGE = re.compile(r"\[([^\[\]]*)\]")
_NUMBER_RANGE = re.compile(r"([0-9]{0,9}):([0-9]{1,9})(?::([1-9][0-9]{0,8}))?\Z")
_LETTER_RANGE = re.compile(r"([A-Za-z]):([A-Za-z])(?::([1-9][0-9]?))?\Z")


class Group:
    """One group: who is in it, and its variables."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.hosts: dict[str, None] = {}
        self.children: dict[str, int] = {}
        self.variables: Variables = {}


class AnsibleInventory:
    """What a file says, gathered by one of the readers; `nodes()` makes it into nodes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.groups: dict[str, Group] = {}
        self.hosts: dict[str, tuple[int, Variables]] = {}
        self.problems: list[tuple[str, int, str]] = []

    def problem(self, line: int, text: str, file: str = "") -> None:
        self.problems.append((file or self.file, line, text))

    def group(self, name: str, line: int) -> Group:
        """The group of this name; it begins to exist when it is first named."""
        return self.groups.setdefault(name, Group(line))

    def add_hosts(self, pattern: str, variables: Variables, group: str, line: int) -> None:
        """Take a host line or key: a name, perhaps with ranges and a port, and its variables."""
        try:
            names, port = expand_hosts(pattern)
        except InventoryError as problem:
            self.problem(line, str(problem))
            return
        if port is not None:
            variables = {"ansible_port": (port, self.file, line), **variables}
        members = self.group(group, line).hosts
        for name in names:
            if problem_text := host_problem(name):
                self.problem(line, problem_text)
                return
            members[name] = None
            if name in self.hosts:
                self.hosts[name][1].update(variables)
            else:
                self.hosts[name] = (line, dict(variables))
        if len(self.hosts) > MAX_NODES:
            raise InventoryError(f"{self.file}:{line}: more than {MAX_NODES} hosts in one inventory")

    def nodes(self) -> list[Node]:
        """The nodes, in the order of the file.

        Raises:
            InventoryError: with everything that was found wrong, here and by the reader.
        """
        depths = self._depths()
        above = {name: self._ancestors(name) for name in self.groups}
        groups_of: dict[str, set[str]] = {name: set() for name in self.hosts}
        for name, group in self.groups.items():
            for host in group.hosts:
                groups_of[host] |= above[name]
        beside = self._variables_beside()
        nodes: list[Node] = []
        for host, (line, own) in self.hosts.items():
            chain = sorted(groups_of[host] - set(_ROOTS), key=lambda name: (depths[name], name))
            merged = self._merge(host, chain, own, beside)
            fields = connection(host, merged, self.problem)
            nodes.append(Node(name=host, groups=tuple(chain), origin=f"{self.file}:{line}", **fields))
        if not self.hosts and not self.problems:
            self.problem(1, "no hosts in this inventory")
        if self.problems:
            ordered = sorted(dict.fromkeys(self.problems), key=lambda one: (one[0] != self.file, one[0], one[1]))
            raise InventoryError(f"{file}:{line}: {text}" for file, line, text in ordered)
        return nodes

    def _merge(
        self, host: str, chain: list[str], own: Variables, beside: dict[tuple[str, str], Variables]
    ) -> Variables:
        """Ansible's order: file's group variables (all first, children last), group_vars, the host's, host_vars."""
        merged: Variables = {}
        for name in ("all", *chain):
            if name in self.groups:
                merged.update(self.groups[name].variables)
        for name in ("all", *chain):
            merged.update(beside.get(("group_vars", name), {}))
        merged.update(own)
        merged.update(beside.get(("host_vars", host), {}))
        return merged

    def _parents(self) -> dict[str, list[str]]:
        parents: dict[str, list[str]] = {name: [] for name in self.groups}
        for name, group in self.groups.items():
            for child, line in group.children.items():
                if child in parents:
                    parents[child].append(name)
                else:
                    self.problem(line, f"group {quoted(child)} is named as a child of {name} but is nowhere defined")
        return parents

    def _depths(self) -> dict[str, int]:
        """How deep each group lies: the longest way up. Circles are problems."""
        self._up = self._parents()
        depths = {name: 0 if name == "all" else 1 for name in self.groups}
        while max(depths.values(), default=0) <= MAX_GROUP_DEPTH:
            changed = False
            for name, parents in self._up.items():
                depth = max((depths[parent] + 1 for parent in parents), default=depths[name])
                if depth > depths[name]:
                    depths[name], changed = depth, True
            if not changed:
                return depths
        circle = [name for name in self.groups if any(name in self._ancestors(up) for up in self._up[name])]
        if circle:
            first = min(self.groups[name].line for name in circle)
            self.problem(first, f"groups {', '.join(sorted(circle))}: their children lead back to them")
        else:
            deepest = max(depths, key=lambda name: depths[name])
            line = self.groups[deepest].line
            self.problem(line, f"group {deepest}: more than {MAX_GROUP_DEPTH} levels of groups above it")
        return depths

    def _ancestors(self, name: str) -> set[str]:
        found, todo = {name}, [name]
        while todo:
            for parent in self._up[todo.pop()]:
                if parent not in found:
                    found.add(parent)
                    todo.append(parent)
        return found

    def _variables_beside(self) -> dict[tuple[str, str], Variables]:
        """Connection variables of `group_vars/` and `host_vars/` in the inventory's folder, by (folder, name)."""
        found: dict[tuple[str, str], Variables] = {}
        for kind, names in (("group_vars", {"all", *self.groups}), ("host_vars", self.hosts)):
            folder = Path(self.file).absolute().parent / kind
            try:
                paths = sorted(folder.iterdir()) if folder.is_dir() else []
                for path in paths:
                    name = path.stem if path.suffix in _VARS_SUFFIXES and path.stem in names else path.name
                    if name not in names:
                        continue
                    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                        if file.suffix in _VARS_SUFFIXES and file.is_file():
                            found.setdefault((kind, name), {}).update(_connection_lines(file))
            except OSError as problem:
                raise InventoryError(f"{problem.filename}: cannot read it: {problem.strerror}") from None
        return found


def _connection_lines(file: Path) -> Variables:
    """`ansible_user: root` and its like at the beginning of a line; the rest of such a file is a playbook's own."""
    variables: Variables = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        match = _VARIABLE_LINE.match(line)
        if match and match.group(1) in CONNECTION_VARIABLES:
            value = match.group(2)
            if len(value) > 1 and value[0] in "\"'" and (end := value.find(value[0], 1)) > 0:
                value = value[1:end]
            else:
                value = re.sub(r"(?:\A|\s+)#.*", "", value)
            variables[match.group(1)] = (value, str(file), number)
    return variables


def expand_hosts(pattern: str) -> tuple[list[str], str | None]:
    """Names and port of `gpu[01:10].example.com:2222`; a range takes a step (`[0:10:2]`) and letters (`[a:f]`).

    Raises:
        InventoryError: a range cannot be one, or there are more than `MAX_NODES` names.
    """
    address = re.match(r"\[([0-9A-Fa-f:.%]*:[^\]]*:[^\]]*)\](?::([0-9]+))?\Z", pattern)
    if address and host_problem(address.group(1)) == "":
        return [address.group(1)], address.group(2)
    outside = _RANGE.sub("", pattern)
    if "[" in outside:
        raise InventoryError(f"{quoted(pattern)}: a bracket is not closed")
    whole, port = pattern, None
    if outside.count(":") == 1:
        pattern, _, port = pattern.rpartition(":")
        if not re.fullmatch("[0-9]+", port):
            raise InventoryError(f"{quoted(whole)}: expected a port after the colon, found {quoted(port)}")
    pieces = _RANGE.split(pattern)
    names = [pieces[0]]
    for index in range(1, len(pieces), 2):
        numbers = _range(pieces[index], pattern)
        if len(names) * len(numbers) > MAX_NODES:
            raise InventoryError(f"{quoted(pattern)}: more than {MAX_NODES} names")
        names = [name + number + pieces[index + 1] for name in names for number in numbers]
    return names, port


def _range(text: str, pattern: str) -> list[str]:
    """The texts that `01:10`, `0:10:2` or `a:f` stand for."""
    if letters := _LETTER_RANGE.match(text):
        first, last, step = letters.groups()
        if first <= last and first.isupper() == last.isupper():
            return [chr(code) for code in range(ord(first), ord(last) + 1, int(step or 1))]
    if numbers := _NUMBER_RANGE.match(text):
        first, last, step = numbers.group(1) or "0", numbers.group(2), int(numbers.group(3) or 1)
        padded = len(first) > 1 and first[0] == "0"
        if padded and len(first) != len(last):
            raise InventoryError(f"{quoted(pattern)}: the ends of [{text}] need the same number of digits")
        if int(first) <= int(last):
            if (int(last) - int(first)) // step >= MAX_NODES:
                raise InventoryError(f"{quoted(pattern)}: more than {MAX_NODES} names")
            width = len(first) if padded else 0
            return [str(number).zfill(width) for number in range(int(first), int(last) + 1, step)]
    raise InventoryError(f"{quoted(pattern)}: [{text}] is no range; Ansible's are like [01:10], [0:10:2] or [a:f]")
