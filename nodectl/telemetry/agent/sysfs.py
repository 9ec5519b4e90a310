"""Files of /proc and /sys that are read again and again through descriptors that stay open."""

import os
import typing


class Counter:
    """A small file with a number or a line in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, most: int = 4096) -> bytes:
        """The content as it is now.

        Raises:
            OSError: the device is gone.
        """
        return os.pread(self._fd, most, 0)

    def number(self) -> int:
        """The content as a number; raises OSError or ValueError."""
        return int(self.read(64))

    def close(self) -> None:
        os.close(self._fd)


def text(path: str, most: int = 65536) -> str:
    """A file's content; empty if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, most).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def names(folder: str) -> "list[str]":
    """What is in a folder, sorted; nothing if it is not there."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def counter(*paths: str) -> "Counter | None":
    """The first of these files that can be opened and read."""
    for path in paths:
        try:
            found = Counter(path)
        except OSError:
            continue
        try:
            found.read(64)
            return found
        except OSError:
            found.close()
    return None


class Pair:
    """Two counters of one port or disk: what went out and what came in, each with the bytes of its unit."""

    def __init__(self, name: str, out: Counter, into: Counter, unit: int) -> None:
        self.name = name
        self._out = out
        self._into = into
        self._unit = unit

    def read(self) -> "tuple[int, int]":
        return self._out.number() * self._unit, self._into.number() * self._unit

    def close(self) -> None:
        self._out.close()
        self._into.close()


class Disk:
    """Bytes written and read, from a disk's stat line (sectors of 512 bytes)."""

    def __init__(self, name: str, stat: Counter) -> None:
        self.name = name
        self._stat = stat

    def read(self) -> "tuple[int, int]":
        words = self._stat.read(512).split()
        return int(words[6]) * 512, int(words[2]) * 512

    def close(self) -> None:
        self._stat.close()


def network_interfaces(root: str) -> "list[Pair]":
    """Physical interfaces: with a device behind them, not a virtual function; IPoIB counts as InfiniBand."""
    found = []
    for name in names(root + "/class/net"):
        folder = root + "/class/net/" + name
        if not os.path.exists(folder + "/device") or os.path.exists(folder + "/device/physfn"):
            continue
        if text(folder + "/type").strip() == "32":
            continue
        pair = _pair(name, folder + "/statistics/tx_bytes", folder + "/statistics/rx_bytes", 1)
        found += [pair] if pair else []
    return found


def infiniband_ports(root: str) -> "list[Pair]":
    """Active InfiniBand and RoCE ports. Their counters are in units of four bytes; EFA counts bytes elsewhere."""
    found = []
    for device in names(root + "/class/infiniband"):
        for port in names("%s/class/infiniband/%s/ports" % (root, device)):
            folder = "%s/class/infiniband/%s/ports/%s" % (root, device, port)
            state = text(folder + "/state")
            if state and "ACTIVE" not in state:
                continue
            name = "%s/%s" % (device, port)
            counters, hardware = folder + "/counters/port_%s_data", folder + "/hw_counters/%s_bytes"
            pair = _pair(name, counters % "xmit", counters % "rcv", 4) or _pair(
                name, hardware % "tx", hardware % "rx", 1
            )
            found += [pair] if pair else []
    return found


def disks(root: str) -> "list[Disk]":
    """Whole disks with a device behind them: no partitions, loops, device mapper or RAID."""
    found = []
    for name in names(root + "/block"):
        if os.path.exists("%s/block/%s/device" % (root, name)) and not name.startswith(("sr", "nbd", "rbd", "fd")):
            stat = counter("%s/block/%s/stat" % (root, name))
            found += [Disk(name, stat)] if stat else []
    return found


def _pair(name: str, out: str, into: str, unit: int) -> "Pair | None":
    first, second = counter(out), counter(into)
    if first is not None and second is not None:
        return Pair(name, first, second, unit)
    for one in (first, second):
        if one is not None:
            one.close()
    return None


Source = typing.Union[Pair, Disk]
