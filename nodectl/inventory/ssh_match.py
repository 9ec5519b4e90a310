"""Which options of an ssh config hold for a host: the conditions of Host and Match, and OpenSSH's second pass.

Conditions that depend on the host are told here, in a few microseconds. What only OpenSSH can tell and does not depend
on the host (`Match localnetwork`, `version`, …) is asked of `ssh -G` once for a whole run, through a config of that one
condition. `Match exec` commands are run as ssh runs them, each different one once, within limits.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.ssh_reader import Criterion, Gate, Option, Segment, pattern_regex
from nodectl.inventory.ssh_tokens import PATH_TOKENS, Tokens, percent
from nodectl.strict_yaml import quoted

MAX_EXEC = 64
"""Different `Match exec` commands that are run. One without host tokens is one command however many hosts there are;
one with them (`nc -z %h 22`) would be run for every host."""

EXEC_TIMEOUT_S = 10.0
"""For one `Match exec` command. ssh itself waits without end; a check of a fleet must not."""

EXEC_BUDGET_S = 60.0
"""For all `Match exec` commands of a run together."""

SSH_TIMEOUT_S = 20.0
"""For one `ssh -G`, which takes 5 ms where no name service hangs."""

_LISTS = frozenset(("identityfile", "certificatefile"))
_ASKED_YES = "nodectl-condition-holds"


class Question:
    """One host that is looked up, and what is known of it while the config is read."""

    def __init__(self, typed: str, user: str | None, port: int | None, local_user: str, home: Path) -> None:
        self.typed = typed
        self.local_user = local_user
        self.home = home
        self.values: dict[str, list[Option]] = {}
        if user:
            self.values["user"] = [Option("user", (user,), "")]
        if port:
            self.values["port"] = [Option("port", (str(port),), "")]

    def first(self, key: str) -> str | None:
        """The value of a keyword, or None."""
        return self.values[key][0].values[0] if key in self.values else None

    def where(self, key: str) -> str:
        """file:line that gave a keyword's value."""
        return self.values[key][0].where

    def take(self, option: Option) -> None:
        """Note an option that holds: the first one wins, files are gathered."""
        key = option.key
        if key == "proxycommand" and (self.first("proxyjump") or "none").lower() != "none":
            return  # whichever of the two comes first keeps the other from having an effect
        if key == "proxyjump" and "proxycommand" in self.values:
            return
        if key not in self.values:
            self.values[key] = [option]
        elif key in _LISTS and all(option.values != known.values for known in self.values[key]):
            self.values[key].append(option)

    def hostname(self) -> str:
        """The host's real name as far as it is known."""
        name = self.first("hostname")
        if name is None:
            return self.typed
        return percent(name, {"h": lambda: self.typed}, self.where("hostname"))

    def tokens(self) -> Tokens:
        """For Match exec: what is known so far."""
        port = self.first("port") or ""
        return Tokens(
            typed=self.typed,
            host=self.hostname(),
            port=int(port) if port.isdigit() else 22,
            user=self.first("user") or self.local_user,
            local_user=self.local_user,
            home=self.home,
            alias=self.first("hostkeyalias") or "",
            jump=self.first("proxyjump") or "",
        )


class Matcher:
    """Applies segments to questions. May be used by several threads.

    Attributes:
        two_passes: the config asks for a second pass with the host's real name (`Match final`).
    """

    def __init__(self, segments: Sequence[Segment], warn: Callable[[str], None]) -> None:
        self._segments = [segment for segment in segments if segment.options]
        # As in ssh: the word alone brings the second pass, wherever it stands.
        self.two_passes = any(one.kind == "final" for seg in segments for gate in seg.gates for one in gate.criteria)
        self._warn = warn
        self._lock = threading.Lock()
        self._exec_answers: dict[str, bool] = {}
        self._exec_by_line: dict[str, bool] = {}
        self._exec_left_s = EXEC_BUDGET_S
        self._ssh_answers: dict[tuple[str, str], bool] = {}
        # A block for one host each is what generated configs have thousands of: those are found by name.
        self._general: list[int] = []
        self._by_name: dict[str, list[int]] = {}
        for index, segment in enumerate(self._segments):
            literal = [gate for gate in segment.gates if gate.patterns and _literal(gate)]
            if literal:
                for name in {pattern.text for pattern in literal[0].patterns}:
                    self._by_name.setdefault(name, []).append(index)
            else:
                self._general.append(index)

    def apply(self, question: Question, name: str, *, final: bool) -> None:
        """One pass: take every option that holds.

        Args:
            name: what `Host` patterns are held against: what was typed, and the real name in the final pass.
            final: it is the second pass, where `Match final` and `Match canonical` hold.
        """
        known: dict[int, bool] = {}
        for segment in self._candidates(name):
            if all(self._holds(gate, question, name, final, known) for gate in segment.gates):
                for option in segment.options:
                    question.take(option)

    def _candidates(self, name: str) -> Iterator[Segment]:
        named = self._by_name.get(name, [])
        for index in heapq.merge(self._general, named) if named else self._general:
            yield self._segments[index]

    def _holds(self, gate: Gate, question: Question, name: str, final: bool, known: dict[int, bool]) -> bool:
        # A gate around an Include is judged once, at its line: what is set below it does not change it.
        if id(gate) not in known:
            if gate.patterns:
                known[id(gate)] = host_fits(gate, name)
            else:
                known[id(gate)] = all(self._fits(gate, one, question, final) for one in gate.criteria)
        return known[id(gate)]

    def _fits(self, gate: Gate, criterion: Criterion, question: Question, final: bool) -> bool:
        """One condition of a Match line; those after one that does not hold are not looked at."""
        kind, argument = criterion.kind, criterion.argument
        if kind == "all":
            result = True
        elif kind in ("canonical", "final"):
            result = final
        elif kind == "host":
            result = list_fits(argument.lower(), question.hostname().lower())
        elif kind == "originalhost":
            result = list_fits(argument.lower(), question.typed.lower())
        elif kind == "user":
            result = list_fits(argument, question.first("user") or question.local_user)
        elif kind == "localuser":
            result = list_fits(argument, question.local_user)
        elif kind == "tagged":
            result = list_fits(argument, question.first("tag") or "")
        elif kind == "exec":
            result = self._run(gate, question.tokens().expand(argument, PATH_TOKENS, gate.where))
        else:
            result = self._ask(gate, kind, argument)
        return result != criterion.negated

    def _run(self, gate: Gate, command: str) -> bool:
        """Whether a Match exec command succeeds; each different command is run once."""
        with self._lock:
            if command in self._exec_answers:
                return self._exec_answers[command]
            if len(self._exec_answers) >= MAX_EXEC or self._exec_left_s <= 0:
                answer = self._exec_by_line.get(gate.where, False)
                self._warn(
                    f"{gate.where}: Match exec would run a command for each of very many hosts; after "
                    f"{len(self._exec_answers)} of them the first answer ({'yes' if answer else 'no'}) stands for "
                    "the rest. Use Host patterns, or a command without %h and %n"
                )
                return answer
            answer = self._run_now(gate, command)
            self._exec_answers[command] = answer
            self._exec_by_line.setdefault(gate.where, answer)
            return answer

    def _run_now(self, gate: Gate, command: str) -> bool:
        shell = os.environ.get("SHELL") or "/bin/sh"
        start = time.monotonic()
        try:
            done = subprocess.run(
                [shell, "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=min(EXEC_TIMEOUT_S, self._exec_left_s),
                check=False,
            )
            return done.returncode == 0
        except subprocess.TimeoutExpired:
            self._warn(f"{gate.where}: Match exec {quoted(command)} took too long; counted as no")
        except OSError as problem:
            self._warn(f"{gate.where}: Match exec cannot run {quoted(shell)} ({problem.strerror}); counted as no")
        finally:
            self._exec_left_s -= time.monotonic() - start
        return False

    def _ask(self, gate: Gate, kind: str, argument: str) -> bool:
        """Whether a condition holds that only ssh can tell; it depends on this machine and not on the host."""
        with self._lock:
            if (kind, argument) not in self._ssh_answers:
                config = f'Match {kind} "{argument}"\nHostKeyAlias {_ASKED_YES}\n'
                try:
                    answer = ask_ssh(["-F", "/dev/stdin", "--", "localhost", "exec sh"], config)
                except FileNotFoundError:
                    self._warn(f"{gate.where}: Match {kind} needs OpenSSH's ssh, which is not here; counted as no")
                    answer = {}
                except InventoryError as problem:
                    raise InventoryError(f"{gate.where}: Match {kind}: {problem}") from None
                self._ssh_answers[kind, argument] = [_ASKED_YES] in answer.get("hostkeyalias", [])
            return self._ssh_answers[kind, argument]


def ask_ssh(options: Sequence[str], config: str = "") -> dict[str, list[list[str]]]:
    """What `ssh -G` answers: keyword -> the arguments of each line that it printed for it.

    Args:
        config: is given to it on stdin.

    Raises:
        FileNotFoundError: there is no ssh on this machine.
        InventoryError: ssh refuses, with its own words.
    """
    try:
        done = subprocess.run(
            ["ssh", "-G", *options],
            input=config,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=SSH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InventoryError(f"`ssh -G` gave no answer in {SSH_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line and "Pseudo-terminal" not in line]
        raise InventoryError(f"`ssh -G` says {quoted(said[0], 300) if said else f'nothing (status {done.returncode})'}")
    answer: dict[str, list[list[str]]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        words = [value] if key in ("proxycommand", "proxyjump", "identityfile", "certificatefile") else value.split()
        answer.setdefault(key.lower(), []).append(words)
    return answer


def host_fits(gate: Gate, name: str) -> bool:
    """Whether a `Host` line means a name: any pattern does, and no negated one."""
    found = False
    for pattern in gate.patterns:
        if pattern.fits(name):
            if pattern.negated:
                return False
            found = True
    return found


def list_fits(patterns: str, text: str) -> bool:
    """Whether a comma-separated pattern list of `Match` means a text: any pattern does, and no negated one."""
    found = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        if pattern_regex(pattern[1:] if negated else pattern).match(text):
            if negated:
                return False
            found = True
    return found


def _literal(gate: Gate) -> bool:
    return all(pattern.regex is None and not pattern.negated for pattern in gate.patterns)
