"""The host's own fields from /proc and /sys."""

import os
import time
import typing

from .sysfs import Counter, Source, counter, disks, infiniband_ports, network_interfaces, text
from .worker import Job

MIB = 1048576.0
# On a machine with hundreds of CPUs /proc/stat alone takes a millisecond: faster ticks repeat what was read last.
LEAST_BETWEEN_S = 0.25
LOOK_AGAIN_S = 60.0


class Flow:
    """The bytes of a kind of device, out and in, as a rate over all of them.

    A device that came since the last reading adds nothing to the rate, one that went or was set back neither.
    """

    def __init__(self, find: "typing.Callable[[str], typing.Sequence[Source]]", root: str) -> None:
        self._find = find
        self._root = root
        self._last: "dict[str, tuple[int, int]]" = {}
        self._at = 0.0
        self.sources: "typing.Sequence[Source]" = find(root)

    @property
    def names(self) -> "list[str]":
        return [source.name for source in self.sources]

    def look_again(self) -> None:
        """Finds the devices anew."""
        for source in self.sources:
            source.close()
        self.sources = self._find(self._root)

    def rates(self, now: float) -> "tuple[float | None, float | None]":
        """(out, in) in MiB/s; None without a device or without an earlier reading."""
        seen, passed = {}, now - self._at
        out = into = 0
        for source in self.sources:
            try:
                seen[source.name] = pair = source.read()
            except (OSError, ValueError, IndexError):
                continue
            before = self._last.get(source.name, pair)
            if pair[0] >= before[0] and pair[1] >= before[1]:
                out += pair[0] - before[0]
                into += pair[1] - before[1]
        known = bool(seen) and bool(self._last) and passed > 0.01
        self._last, self._at = seen, now
        if not known:
            return None, None
        return round(out / MIB / passed, 3), round(into / MIB / passed, 3)


class Host:
    """Samples of the host; used by one worker thread.

    Attributes:
        reading: what is being read now, for the watchdog.
        unsupported: field -> why it is never known here.
    """

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self.reading = "the devices of the host"
        self._net = Flow(network_interfaces, sys)
        self._ib = Flow(infiniband_ports, sys)
        self._disks = Flow(disks, sys)
        self._files: "dict[str, Counter | None]" = {
            name: counter("%s/%s" % (proc, name)) for name in ("stat", "meminfo", "loadavg")
        }
        self._cpu: "tuple[int, int] | None" = None
        self._row: "list[float | None]" = []
        self._at = self._looked_at = time.monotonic()
        self.memory_total_mib = self._memory()[1]
        self.sample(None)  # so that the first tick has rates
        self._row = []

    def facts(self) -> "dict[str, typing.Any]":
        """The host part of the hello."""
        return {
            "cpus": os.cpu_count() or 0,
            "memory_total_mib": self.memory_total_mib,
            "nics": self._net.names,
            "ib": self._ib.names,
        }

    @property
    def unsupported(self) -> "dict[str, str]":
        found = {}
        for flow, fields, why in (
            (self._net, ("net_tx_mib_s", "net_rx_mib_s"), "no physical network interface is seen"),
            (self._ib, ("ib_tx_mib_s", "ib_rx_mib_s"), "no active InfiniBand or RoCE port"),
            (self._disks, ("disk_read_mib_s", "disk_write_mib_s"), "no local disk is seen"),
        ):
            if not flow.sources:
                found.update(dict.fromkeys(fields, why))
        return found

    def sample(self, job: "Job | None") -> "list[float | None]":
        """The fast host fields in their order."""
        now = time.monotonic()
        if self._row and now - self._at < LEAST_BETWEEN_S:
            return self._row
        self._at = now
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            self.reading = "the devices of the host"
            for flow in (self._net, self._ib, self._disks):
                flow.look_again()
        self.reading = "/proc"
        row = [self._cpu_pct(), self._memory()[0], self._load()]
        self.reading = "network counters"
        row += self._net.rates(now)
        self.reading = "InfiniBand counters"
        row += self._ib.rates(now)
        self.reading = "disk counters"
        written, read = self._disks.rates(now)
        self._row = [*row, read, written]
        self.reading = ""
        return self._row

    def _file(self, name: str) -> str:
        file = self._files[name]
        try:
            return file.read().decode("ascii", "replace") if file else ""
        except OSError:
            return ""

    def _cpu_pct(self) -> "float | None":
        line = self._file("stat").partition("\n")[0].split()
        if len(line) < 6 or line[0] != "cpu":
            return None
        ticks = [int(word) for word in line[1:9]]  # guest time is in user time already
        idle, total = ticks[3] + ticks[4], sum(ticks)
        before, self._cpu = self._cpu, (idle, total)
        if before is None or total <= before[1]:
            return None
        busy = 1.0 - (idle - before[0]) / (total - before[1])
        return round(100.0 * min(max(busy, 0.0), 1.0), 1)

    def _memory(self) -> "tuple[float | None, int | None]":
        """(share in use in percent, total in MiB)."""
        found = {}
        for line in self._file("meminfo").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0])
        total, available = found.get("MemTotal"), found.get("MemAvailable")
        if not total:
            return None, None
        share = None if available is None else round(100.0 * (1.0 - available / total), 2)
        return share, total // 1024

    def _load(self) -> "float | None":
        words = self._file("loadavg").split()
        return float(words[0]) if words else None


def boot_id(proc: str = "/proc") -> str:
    """This boot's id."""
    return text(proc + "/sys/kernel/random/boot_id").strip()
