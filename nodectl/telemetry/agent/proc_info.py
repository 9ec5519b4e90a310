"""Who a process is: its owner, command and job, from /proc. Nothing is read twice for the same process."""

import os
import pwd
import queue
import re
import threading
import typing

from .wire import plain

COMMAND_LENGTH = 200

_SLURM = re.compile(r"/job_(\d+)(?:/|$)")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
_JOB_VARIABLES = ((b"SLURM_JOB_ID=", "slurm:"), (b"PBS_JOBID=", "pbs:"), (b"LSB_JOBID=", "lsf:"))

_SECRET_NAME = re.compile(r"(?i)(pass|secret|token|key|cred|auth|pwd|cookie|bearer)")
_SECRET_TEXT = re.compile(
    r"^(hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[a-z]-|AKIA|ASIA|eyJ)[A-Za-z0-9_.\-]{8,}"
    r"|^[A-Za-z0-9+/_\-]{40,}={0,2}$|^[0-9a-fA-F]{32,}$"
)
_URL_LOGIN = re.compile(r"(://)[^/@\s]+@")


def job_of(cgroup: str, environment: bytes = b"") -> str:
    """The batch job or pod that a process belongs to: "slurm:123", "pod:UID", "container:ID"; "" if none is seen."""
    found = _SLURM.search(cgroup)
    if found:
        return "slurm:" + found.group(1)
    found = _POD.search(cgroup)
    if found:
        return "pod:" + found.group(1).replace("_", "-")
    for line in environment.split(b"\0"):
        for name, kind in _JOB_VARIABLES:
            if line.startswith(name):
                return kind + plain(line[len(name) :], 40)
    found = _CONTAINER.search(cgroup)
    return "container:" + found.group(1)[:12] if found else ""


def masked(arguments: "list[str]") -> str:
    """A command line in which what looks like a secret is ***."""
    shown = []
    hide_next = False
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if hide_next and not word.startswith("-"):
            shown.append("***")
        elif number and equals and (_SECRET_NAME.search(name) or _SECRET_TEXT.search(value)):
            shown.append(name + "=***")
        elif number and _SECRET_TEXT.search(word):
            shown.append("***")
        else:
            shown.append(_URL_LOGIN.sub(r"\1***@", word))
        hide_next = bool(number and word.startswith("-") and not equals and _SECRET_NAME.search(word))
    return " ".join(shown)


def _read(path: str, most: int = 65536) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, most)
    except OSError:
        return b""
    finally:
        os.close(fd)


class Users:
    """Names of user ids. /etc/passwd at once; other directories (LDAP) are asked in a thread of their own."""

    def __init__(self) -> None:
        self._names: "dict[int, str]" = {}
        self._asked: "queue.Queue[int] | None" = None
        for line in _read("/etc/passwd", 1 << 20).decode("utf-8", "replace").splitlines():
            parts = line.split(":")
            if len(parts) > 2 and parts[2].isdigit():
                self._names.setdefault(int(parts[2]), plain(parts[0], 64))

    def name(self, uid: int) -> str:
        """The name, or the number until (and unless) the name is known."""
        known = self._names.get(uid)
        if known is None:
            known = self._names[uid] = str(uid)
            if self._asked is None:
                self._asked = queue.Queue()
                thread = threading.Thread(target=self._resolve, args=(self._asked,), name="users")
                thread.daemon = True
                thread.start()
            self._asked.put(uid)
        return known

    def _resolve(self, asked: "queue.Queue[int]") -> None:
        while True:
            uid = asked.get()
            try:
                self._names[uid] = plain(pwd.getpwuid(uid).pw_name, 64)
            except (KeyError, OSError):
                continue


class ProcInfo:
    """What /proc says of processes, kept while they live."""

    def __init__(self, full_commands: bool = False, root: str = "/proc") -> None:
        self.users = Users()
        self._full = full_commands
        self._root = root
        self._known: "dict[int, tuple[bytes, int | None, str, str]]" = {}

    def of(self, pid: int) -> "tuple[str | None, str | None, str | None]":
        """(user, command, job); None for what cannot be told, as for a process outside this container."""
        folder = "%s/%d" % (self._root, pid)
        started = _read(folder + "/stat", 4096).rpartition(b")")[2].split()[19:20]
        if not started:
            self._known.pop(pid, None)
            return None, None, None
        known = self._known.get(pid)
        if known is None or known[0] != started[0]:
            known = self._known[pid] = (started[0],) + self._look(folder)
        _, uid, command, job = known
        return None if uid is None else self.users.name(uid), command or None, job or None

    def forget_all_but(self, pids: "typing.Iterable[int]") -> None:
        """Drops what was kept of processes that are gone."""
        kept = set(pids)
        for pid in [pid for pid in self._known if pid not in kept]:
            del self._known[pid]

    def _look(self, folder: str) -> "tuple[int | None, str, str]":
        try:
            uid: "int | None" = os.stat(folder).st_uid
        except OSError:
            uid = None
        cgroup = _read(folder + "/cgroup").decode("utf-8", "replace")
        job = job_of(cgroup)
        if not job or job.startswith("container:"):
            job = job_of(cgroup, _read(folder + "/environ", 1 << 17))
        return uid, self._command(folder), job

    def _command(self, folder: str) -> str:
        words = _read(folder + "/cmdline").decode("utf-8", "replace").split("\0")
        while words and not words[-1]:
            words.pop()
        if not words:
            return plain(_read(folder + "/comm", 64).strip(), COMMAND_LENGTH)
        if self._full:
            return plain(masked(words), COMMAND_LENGTH)
        # A process may write anything over its arguments (setproctitle): the first word is its name.
        first = words[0].split()[0] if words[0].split() else ""
        return plain(os.path.basename(first.rstrip(":")) or first, COMMAND_LENGTH)
