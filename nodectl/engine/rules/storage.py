"""What the inventory says of a node's file systems against the mounts that it has, and evictions from Lustre."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult, require_field
from nodectl.engine.rules.log_text import UNREADABLE, incomplete, when
from nodectl.model import Outcome

_HOUR_S = 3600
_MOUNT_KEYS = {"path", "fstype", "source", "options", "read_only"}


def expected_mounts(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """Each file system of `expect.mounts` is mounted, as what the inventory says, and writable unless it says not.

    An entry is a path, or a mapping with `path` and any of `fstype`, `source`, `options`, `read_only`.
    """
    declared = facts.value("expect.mounts")
    entries = declared if isinstance(declared, (list, tuple)) else [declared]
    mounts = {row["path"]: row for row in facts.rows("storage.mounts")}
    if not entries:
        return [RowResult(Outcome.PASS, reason="the inventory declares an empty list of mounts")]
    results = [_expected(_entry(entry), mounts) for entry in entries]
    bad = [result for result in results if result.outcome is not Outcome.PASS]
    return bad or [RowResult(Outcome.PASS, actual=f"{len(results)} of {len(results)} mounted as declared")]


def _entry(entry: Any) -> Mapping[str, Any]:
    if isinstance(entry, str):
        entry = {"path": entry}
    path = entry.get("path") if isinstance(entry, Mapping) else None
    if not isinstance(path, str) or not path.startswith("/"):
        raise CannotTellError(
            f"expect.mounts: {str(entry)[:80]!r} is neither a path nor has a `path` that begins with /"
        )
    unknown = sorted(set(map(str, entry)) - _MOUNT_KEYS)
    if unknown:
        raise CannotTellError(f"expect.mounts: {path} has {unknown[0]!r}; known: {', '.join(sorted(_MOUNT_KEYS))}")
    return {**entry, "path": path.rstrip("/") or "/"}


def _expected(entry: Mapping[str, Any], mounts: Mapping[str, Mapping[str, Any]]) -> RowResult:
    path = entry["path"]
    mount = mounts.get(path)
    wanted = str(entry.get("fstype", ""))
    expected = f"mounted{' as ' + wanted if wanted else ''}"
    if mount is None:
        return RowResult(Outcome.FAIL, path, expected, "not mounted")
    if mount["kind"] == "automount":
        return RowResult(
            Outcome.UNKNOWN, path, expected, reason="autofs mounts it when it is used; nodectl does not touch it"
        )
    problems = []
    if wanted and mount["fstype"] != wanted and {mount["fstype"], wanted} != {"nfs", "nfs4"}:
        problems.append(("", str(mount["fstype"])))
    if "source" in entry and mount["source"] != str(entry["source"]):
        problems.append((f"from {entry['source']}", f"from {mount['source']}"))
    if bool(entry.get("read_only", False)) != mount["read_only"]:
        words = ("writable", "read-only")
        problems.append((words[bool(entry.get("read_only"))], words[mount["read_only"]]))
    options = entry.get("options", ())
    missing = [
        str(one) for one in ([options] if isinstance(options, str) else options) if str(one) not in mount["options"]
    ]
    if missing:
        problems.append((f"with {', '.join(missing)}", f"options {','.join(mount['options'])}"))
    if not problems:
        return RowResult(Outcome.PASS, path, expected, f"{mount['fstype']} from {mount['source']}")
    return RowResult(
        Outcome.FAIL,
        path,
        ", ".join([expected, *(want for want, _ in problems if want)]),
        ", ".join(have for _, have in problems),
    )


def _scratch(facts: FactView) -> tuple[str, Mapping[str, Any] | None]:
    path = facts.value("expect.scratch")
    if not isinstance(path, str) or not path.startswith("/"):
        raise CannotTellError(f"expect.scratch must be one path that begins with /, not {str(path)[:60]!r}")
    path = path.rstrip("/") or "/"
    return path, next((row for row in facts.rows("storage.mounts") if row["path"] == path), None)


def scratch(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """A file system of its own is mounted at `expect.scratch`, and can be written to."""
    path, mount = _scratch(facts)
    expected = "a file system of its own, writable"
    if mount is None:
        return [
            RowResult(Outcome.FAIL, path, expected, "nothing is mounted there: it is a folder of the disk above it")
        ]
    if mount["kind"] == "automount":
        return [
            RowResult(
                Outcome.UNKNOWN, path, expected, reason="autofs mounts it when it is used; nodectl does not touch it"
            )
        ]
    actual = f"{mount['fstype']} from {mount['source']}{', read-only' if mount['read_only'] else ''}"
    return [RowResult(Outcome.FAIL if mount["read_only"] else Outcome.PASS, path, expected, actual)]


def direct_io(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The file system at `expect.scratch` is of a type that opens files with O_DIRECT, by its documentation."""
    path, mount = _scratch(facts)
    if mount is None:
        return [RowResult(Outcome.NOT_APPLICABLE, path, reason="nothing is mounted there")]
    fstype = str(mount["fstype"])
    row = tables["direct_io_filesystems"].get(fstype)
    expected = "a type that is documented to open files with O_DIRECT"
    if row is None or row["direct_io"] == "depends":
        remark = row.get("remark") if row else "no document says so of this type"
        return [RowResult(Outcome.UNKNOWN, path, expected, reason=f"{fstype}: {remark}")]
    if row["direct_io"] == "yes":
        return [RowResult(Outcome.PASS, path, expected, fstype)]
    release = str(facts.value("kernel.version"))
    new_enough = [int(part) for part in release.split(".")[:2]] >= [
        int(part) for part in row["since_kernel"].split(".")[:2]
    ]
    actual = f"{fstype} on Linux {release}: {row.get('remark', '')}"
    return [RowResult(Outcome.PASS if new_enough else Outcome.FAIL, path, expected, actual)]


def lustre_evictions(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """No server has thrown this client out within `params["hours"]`, as the client's own history has it."""
    targets = facts.rows("lustre.targets")
    if not targets:
        return [RowResult(Outcome.NOT_APPLICABLE, reason="no Lustre target is connected")]
    now = datetime.fromisoformat(str(facts.value("node.time_utc")).replace("Z", "+00:00")).timestamp()
    hours = int(params["hours"])
    results = []
    for row in targets:
        last = row.get("last_evicted_s")
        if last is not None and now - last <= hours * _HOUR_S:
            ago = max(0, int(now - last)) // _HOUR_S
            actual = f"{require_field(row, 'evictions')} times, last {ago} hours ago"
            results.append(RowResult(Outcome.FAIL, str(row["target"]), f"not within {hours} hours", actual))
    return results or [RowResult(Outcome.PASS, actual=f"none of {len(targets)} targets within {hours} hours")]


def lustre_versions(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The client's release and each server's are of one major number and at most `max_minor_apart` minor ones apart."""
    client = str(facts.value("lustre.version"))
    servers = [str(version) for version in facts.value("lustre.server_versions")]
    apart = int(params["max_minor_apart"])
    mine = _major_minor(client)
    far = [
        version
        for version in servers
        if _major_minor(version)[0] != mine[0] or abs(_major_minor(version)[1] - mine[1]) > apart
    ]
    return [
        RowResult(
            Outcome.FAIL if far else Outcome.PASS,
            expected=f"at most {apart} minor releases apart",
            actual=f"client {client}, servers {', '.join(servers)}",
        )
    ]


def _major_minor(version: str) -> tuple[int, int]:
    parts = version.split(".")
    if len(parts) < 2 or not parts[0].isdigit() or not parts[1].isdigit():
        raise CannotTellError(f"not a version of Lustre: {version[:40]!r}")
    return int(parts[0]), int(parts[1])


def nfs_servers(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The last that the kernel log says of each NFS server is not that it does not respond."""
    silent: dict[str, float | None] = {}
    answered: dict[str, float] = {}
    lines: dict[str, int] = {}
    for row in facts.rows("kernel.log_events"):
        if row["kind"] != "nfs":
            continue
        server, last = str(row["device"]), row.get("last_s")
        if row["level"] == "corrected":
            answered[server] = max(answered.get(server, 0.0), last or 0.0)
        else:
            known = silent.get(server, 0.0)
            silent[server] = None if last is None or known is None else max(known, last)
            lines[server] = lines.get(server, 0) + int(row["count"])
    results = [_silence(server, last, answered.get(server), lines[server]) for server, last in silent.items()]
    bad = [result for result in results if result.outcome is not Outcome.PASS]
    if bad:
        return bad
    if incomplete(facts):
        return [RowResult(Outcome.UNKNOWN, actual="none in what is left of the log", reason=UNREADABLE)]
    over = f" ({len(results)} answered again)" if results else ""
    return [RowResult(Outcome.PASS, actual=f"no server is without an answer{over}")]


def _silence(server: str, last_s: float | None, answered_s: float | None, lines: int) -> RowResult:
    expected = "it answers"
    if answered_s is None:
        since = when({"first_s": last_s, "last_s": last_s})
        said = ", ".join(part for part in ("not responding", f"{lines} lines" if lines > 1 else "", since) if part)
        return RowResult(Outcome.FAIL, server, expected, said)
    if last_s is None or not answered_s:
        return RowResult(Outcome.UNKNOWN, server, expected, reason="the log does not tell which of its lines came last")
    if answered_s >= last_s:
        return RowResult(Outcome.PASS, server, expected, "it answered again")
    return RowResult(Outcome.FAIL, server, expected, f"not responding, {when({'first_s': last_s, 'last_s': last_s})}")
