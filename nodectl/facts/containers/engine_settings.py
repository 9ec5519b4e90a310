"""How Docker, containerd and CRI-O are set up, as far as GPUs and big jobs are concerned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.containers.files import file_system, flag, looked_for, settings, toml_list, toml_text
from nodectl.facts.host.limits import UNLIMITED
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "container_config"
_DAEMON_JSON = "/etc/docker/daemon.json"
_OPTIONS = "dockerd options"
_UNITS_MIB = {"": 1 / 1024 / 1024, "b": 1 / 1024 / 1024, "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024}
_SIZE = re.compile(r"(\d{1,15})\s*([bkmgt]?)i?b?", re.IGNORECASE)
# A runtime's own table or a table below it; names hold no dot.
_RUNTIME = re.compile(r"(?:.*\.)?runtimes\.([^.|]{1,100})(?:\.options)?\|(.*)")
_CDI_DEFAULT = "the setting is left to its default"


def _spec(name: str, kind: str, about: str, **more: Any) -> FactSpec:
    return FactSpec(name=name, type=kind, about=about, source=SOURCE, **more)


FACTS = (
    _spec("docker.runtimes", "list", "Runtimes that daemon.json or dockerd's options add; absent without either"),
    _spec("docker.default_runtime", "str", "Runtime of containers that name none; absent: runc"),
    _spec("docker.cgroup_driver", "str", "native.cgroupdriver; absent: dockerd chooses (systemd on cgroup v2)"),
    _spec("docker.default_shm_mib", "int", "Size of /dev/shm in a container; absent: 64 MiB", unit="MiB"),
    _spec(
        "docker.memlock_kib",
        "int",
        f"Hard limit of locked memory in a container; {UNLIMITED} is unlimited; absent: not set",
        unit="KiB",
    ),
    _spec("docker.live_restore", "bool", "Containers outlive a restart of dockerd; absent: not set, which is no"),
    _spec("docker.log_driver", "str", "Log driver of containers; absent: json-file"),
    _spec("docker.log_max_size", "str", "Size at which a container's log is rotated; absent: not set"),
    _spec("docker.storage_driver", "str", "Storage driver that is asked for; absent: dockerd chooses"),
    _spec("docker.data_root", "str", "Where images and containers lie"),
    _spec("docker.data_root_fstype", "str", "File system of Docker's data root"),
    _spec("docker.cdi", "bool", "features.cdi; absent: not set (CDI is on since Docker 28.2)"),
    _spec("containerd.runtimes", "list", "Runtimes of containerd's CRI plugin; absent without a config.toml"),
    _spec("containerd.default_runtime", "str", "Runtime of pods that name none; absent: runc"),
    _spec("containerd.systemd_cgroup", "bool", "SystemdCgroup of the default runtime; not set means no"),
    _spec("containerd.cdi", "bool", f"enable_cdi; absent: {_CDI_DEFAULT} (on since containerd 2.0)"),
    _spec("containerd.cri_disabled", "bool", "The CRI plugin is switched off, as Docker's package does"),
    _spec("containerd.root", "str", "Where containerd's images lie"),
    _spec("containerd.root_fstype", "str", "File system of containerd's root"),
    _spec("crio.runtimes", "list", "Runtimes of CRI-O; absent without its files"),
    _spec("crio.default_runtime", "str", "Runtime of pods that name none; absent: CRI-O's own"),
    _spec("crio.cgroup_manager", "str", "cgroup manager; absent: systemd"),
    _spec("cgroup.version", "int", "1 or 2: which control groups the node has"),
    FactSpec(
        name="container.gpu_runtimes",
        type="rows",
        about="Runtimes of NVIDIA that an engine is set up with",
        source=SOURCE,
        fields=(
            Field("engine", about="docker, containerd or crio"),
            Field("name", about="name of the runtime"),
            Field("path", about="the program that it names"),
            Field("found", "bool", about="the program is there"),
            Field("default", "bool", about="containers that name no runtime get it"),
        ),
    ),
)


class _Docker:
    """daemon.json and the options that dockerd runs with, which may not contradict each other."""

    def __init__(self, reading: Reading) -> None:
        pairs: list[tuple[str, str]] = []
        self.there = False
        for section, what in ((_DAEMON_JSON, _DAEMON_JSON), (_OPTIONS, "running dockerd")):
            try:
                pairs += settings(reading, section, what)
                self.there = True
            except NotThere:
                continue
        self.runtimes: dict[str, str] = {}
        self.values: dict[str, str] = {}
        for key, value in pairs:
            self._take(key, value)

    def _take(self, key: str, value: str) -> None:
        parts = key.split("|")
        if key.startswith("--"):
            self._option(key[2:], value)
        elif parts[0] == "runtimes" and len(parts) == 3:
            self.runtimes.setdefault(parts[1], "")
            if parts[2] == "path":
                self.runtimes[parts[1]] = value
        elif parts[0] == "exec-opts":
            self._option("exec-opt", value)
        else:
            self.values[key] = value

    def _option(self, name: str, value: str) -> None:
        before, equals, after = value.partition("=")
        if name == "add-runtime" and equals:
            self.runtimes[before] = after
        elif name == "exec-opt":
            if before == "native.cgroupdriver":
                self.values[before] = after
        elif name == "default-ulimit":
            if before == "memlock":
                self.values["default-ulimits|memlock|Hard"] = after.rpartition(":")[2]
        else:
            self.values[name] = value

    def text(self, key: str) -> str:
        if not self.there:
            raise NotThere(f"there is no {_DAEMON_JSON}")
        if key not in self.values:
            raise NotThere(f"{_DAEMON_JSON} does not set {key}")
        return self.values[key]

    def names(self) -> list[str]:
        if not self.there:
            raise NotThere(f"there is no {_DAEMON_JSON}")
        return sorted(self.runtimes)

    def root(self) -> str:
        return self.values.get("data-root") or self.values.get("graph") or "/var/lib/docker"


def _shm_mib(docker: _Docker) -> int:
    text = docker.text("default-shm-size")
    match = _SIZE.fullmatch(text)
    if not match:
        raise CannotTell(f"default-shm-size is no size: {text!r:.40}")
    return int(int(match[1]) * _UNITS_MIB[match[2].lower()])


def _memlock_kib(docker: _Docker) -> int:
    text = docker.text("default-ulimits|memlock|Hard")
    if text in ("-1", "unlimited", "infinity"):
        return UNLIMITED
    if not re.fullmatch(r"\d{1,19}", text):
        raise CannotTell(f"memlock is no number: {text!r:.40}")
    return min(int(text) // 1024, UNLIMITED)


class _Toml:
    """The settings of containerd or CRI-O: later files win over earlier ones."""

    def __init__(self, reading: Reading, section: str, what: str) -> None:
        self.what = what
        self.pairs = settings(reading, section, what)
        self.runtimes: dict[str, dict[str, str]] = {}
        for key, value in self.pairs:
            match = _RUNTIME.fullmatch(key)
            if match:
                options = self.runtimes.setdefault(match[1], {})
                if match[2]:
                    options[match[2]] = value

    def last(self, *names: str) -> str:
        """The value that stands, of a key with one of these names."""
        for key, value in reversed(self.pairs):
            if key.rpartition("|")[2] in names and not _RUNTIME.fullmatch(key):
                return value
        raise NotThere(f"{self.what} does not set {names[0]}")

    def default(self) -> str:
        return toml_text(self.last("default_runtime_name", "default_runtime"))

    def systemd_cgroup(self) -> bool:
        try:
            name = self.default()
        except NotThere:
            name = "runc"
        value = self.runtimes.get(name, {}).get("SystemdCgroup", "false")
        return flag(value, "SystemdCgroup")

    def cri_disabled(self) -> bool:
        try:
            return any(name.rpartition(".")[2] == "cri" for name in toml_list(self.last("disabled_plugins")))
        except NotThere:
            return False


def _or(look: Callable[[], str], otherwise: str) -> str:
    try:
        return look()
    except NotThere:
        return otherwise


def _gpu_runtimes(reading: Reading, engines: list[tuple[str, Callable[[], Any]]]) -> list[Row]:
    there = looked_for(reading)
    rows: list[Row] = []
    for engine, make in engines:
        try:
            made = make()
        except NotThere:
            continue
        if isinstance(made, _Docker):
            paths = made.runtimes
            default = made.values.get("default-runtime", "")
        else:
            paths = {
                name: toml_text(options.get("BinaryName") or options.get("runtime_path") or "")
                for name, options in made.runtimes.items()
            }
            default = _or(made.default, "")
        for name, path in sorted(paths.items()):
            if "nvidia" in f"{name} {path}":
                program = path or "nvidia-container-runtime"
                row: Row = {"engine": engine, "name": name, "path": program, "default": name == default}
                row["found"] = there.get(program)
                if program not in there:
                    row["_errors"] = {"found": f"the probe did not look for {program}"}
                rows.append(row)
    return rows


def _cgroup(reading: Reading) -> int:
    if not reading.has("text", "cgroup"):
        raise CannotTell("/sys/fs/cgroup was not there to look at")
    return 2 if reading.text("cgroup").strip() == "v2" else 1


def _of_docker(reading: Reading) -> Iterator[Fact]:
    made = partial(_Docker, reading)
    looks: dict[str, Callable[[], Any]] = {
        "runtimes": lambda: made().names(),
        "default_runtime": lambda: made().text("default-runtime"),
        "cgroup_driver": lambda: made().text("native.cgroupdriver"),
        "default_shm_mib": lambda: _shm_mib(made()),
        "memlock_kib": lambda: _memlock_kib(made()),
        "live_restore": lambda: flag(made().text("live-restore"), "live-restore"),
        "log_driver": lambda: made().text("log-driver"),
        "log_max_size": lambda: made().text("log-opts|max-size"),
        "storage_driver": lambda: made().text("storage-driver"),
        "data_root": lambda: made().root(),
        "data_root_fstype": lambda: file_system(reading, made().root()),
        "cdi": lambda: flag(made().text("features|cdi"), "features.cdi"),
    }
    for name, look in looks.items():
        yield told(f"docker.{name}", look, f"cat {_DAEMON_JSON}")


def _of_containerd(reading: Reading) -> Iterator[Fact]:
    made = partial(_Toml, reading, "containerd", "/etc/containerd/config.toml")

    def root() -> str:
        return _or(lambda: toml_text(made().last("root")), "/var/lib/containerd")

    looks: dict[str, Callable[[], Any]] = {
        "runtimes": lambda: sorted(made().runtimes),
        "default_runtime": lambda: made().default(),
        "systemd_cgroup": lambda: made().systemd_cgroup(),
        "cdi": lambda: flag(made().last("enable_cdi"), "enable_cdi"),
        "cri_disabled": lambda: made().cri_disabled(),
        "root": root,
        "root_fstype": lambda: file_system(reading, root()),
    }
    for name, look in looks.items():
        yield told(f"containerd.{name}", look, "containerd config dump")


def _of_crio(reading: Reading) -> Iterator[Fact]:
    made = partial(_Toml, reading, "crio", "/etc/crio/crio.conf")
    looks: dict[str, Callable[[], Any]] = {
        "runtimes": lambda: sorted(made().runtimes),
        "default_runtime": lambda: made().default(),
        "cgroup_manager": lambda: toml_text(made().last("cgroup_manager")),
    }
    for name, look in looks.items():
        yield told(f"crio.{name}", look, "crio status config")


def engine_facts(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the engines' settings."""
    reading = Reading(reply)
    yield from _of_docker(reading)
    yield from _of_containerd(reading)
    yield from _of_crio(reading)
    yield told("cgroup.version", partial(_cgroup, reading), "stat -f -c %T /sys/fs/cgroup")
    engines: list[tuple[str, Callable[[], Any]]] = [
        ("docker", partial(_Docker, reading)),
        ("containerd", partial(_Toml, reading, "containerd", "/etc/containerd/config.toml")),
        ("crio", partial(_Toml, reading, "crio", "/etc/crio/crio.conf")),
    ]
    yield told("container.gpu_runtimes", partial(_gpu_runtimes, reading, engines), "nvidia-ctk runtime configure")


SOURCES: dict[str, Any] = {}
