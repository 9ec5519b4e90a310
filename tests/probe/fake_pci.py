"""A made-up /sys with PCI devices: links, bridges, and configuration spaces as the PCIe specification lays them out."""

from __future__ import annotations

import struct
from pathlib import Path

ROOT, UPSTREAM, DOWNSTREAM, ENDPOINT = 4, 5, 6, 0


def config_space(
    ids: tuple[int, int],
    *,
    port: int = ENDPOINT,
    payload: int = 256,
    payload_able: int = 512,
    read_request: int = 512,
    acs: int | None = None,
    ats: bool | None = None,
    rebar: tuple[int, int] | None = None,
    size: int = 4096,
) -> bytes:
    """4096 bytes: PCIe capability at 0x60 behind one of power management, then AER and what is asked for.

    Args:
        acs: the ACS control word; None for no ACS.
        rebar: (MiB now, MiB at most), powers of two.
    """
    space = bytearray(4096)
    struct.pack_into("<HH", space, 0, *ids)
    struct.pack_into("<H", space, 6, 0x10)  # there is a list of capabilities
    space[0x34] = 0x40
    space[0x40:0x42] = bytes((0x01, 0x60))  # power management, next at 0x60
    space[0x60:0x62] = bytes((0x10, 0x00))
    control = (payload.bit_length() - 8) << 5 | (read_request.bit_length() - 8) << 12 | 0x110
    struct.pack_into("<HIH", space, 0x62, port << 4 | 2, payload_able.bit_length() - 8, control)
    struct.pack_into("<IH", space, 0x60 + 36, 0x20000, 0x1000)
    extended: list[tuple[int, bytes]] = [(1, bytes(0x44))]
    if acs is not None:
        extended.append((13, struct.pack("<HH", 0x5F, acs)))
    if ats is not None:
        extended.append((15, struct.pack("<HH", 0x20, 0x8000 if ats else 0)))
    if rebar is not None:
        now, most = (mib.bit_length() - 1 for mib in rebar)
        extended.append((21, struct.pack("<II", 1 << (most + 4), 1 << 5 | now << 8)))
    at = 0x100
    for number, (name, body) in enumerate(extended):
        after = at + 4 + (len(body) + 3) // 4 * 4
        struct.pack_into("<I", space, at, name | 1 << 16 | (after if number < len(extended) - 1 else 0) << 20)
        space[at + 4 : at + 4 + len(body)] = body
        at = after
    return bytes(space[:size])


class FakePci:
    """A folder with /sys below it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.bus = top / "sys" / "bus" / "pci" / "devices"
        self.bus.mkdir(parents=True)
        (top / "sys" / "kernel" / "iommu_groups").mkdir(parents=True)

    def add(
        self,
        address: str,
        above: str,
        ids: str,
        klass: str,
        *,
        link: tuple[str, str, int, int] = ("32.0", "32.0", 16, 16),
        driver: str = "",
        numa: int = 0,
        group: int | None = None,
        group_type: str = "identity",
        config: bytes | None = None,
        names: tuple[str, ...] = (),
        bars: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """One device or bridge.

        Args:
            above: its way below /sys/devices: `pci0000:15/0000:15:01.0`.
            ids: `10de:2335`; klass: six hex digits.
            link: speed and highest speed in GT/s, lanes and highest number of lanes.
            bars: (address, size) of memory windows from number 0 on; an address of 0 is an unassigned window.
        """
        real = self.top / "sys" / "devices" / above / address
        real.mkdir(parents=True, exist_ok=True)
        (self.bus / address).symlink_to(Path("../../../devices") / above / address)
        vendor, device = ids.split(":")
        uevent = f"PCI_CLASS={int(klass, 16):X}\nPCI_ID={ids.upper()}\nPCI_SLOT_NAME={address}\n"
        files = {
            "vendor": f"0x{vendor}",
            "device": f"0x{device}",
            "class": f"0x{klass}",
            "uevent": (f"DRIVER={driver}\n" if driver else "") + uevent.rstrip(),
            "numa_node": str(numa),
            "current_link_speed": f"{link[0]} GT/s PCIe",
            "max_link_speed": f"{link[1]} GT/s PCIe",
            "current_link_width": str(link[2]),
            "max_link_width": str(link[3]),
        }
        for name, text in files.items():
            (real / name).write_text(text + "\n")
        windows = [*((at, at + size - 1, 0x140204 if at else 0x20140204) for at, size in bars), *[(0, 0, 0)] * 13][:13]
        (real / "resource").write_text("".join(f"0x{a:016x} 0x{b:016x} 0x{c:016x}\n" for a, b, c in windows))
        own = (int(vendor, 16), int(device, 16))
        (real / "config").write_bytes(config if config is not None else config_space(own))
        if group is not None:
            folder = self.top / "sys" / "kernel" / "iommu_groups" / str(group)
            folder.mkdir(exist_ok=True)
            (folder / "type").write_text(f"{group_type}\n")
            depth = len((Path(above) / address).parts) + 1
            (real / "iommu_group").symlink_to(Path(*[".."] * depth) / "kernel" / "iommu_groups" / str(group))
        for name in names:
            (real / ("nvme" if name.startswith("nvme") else "infiniband") / name).mkdir(parents=True)


def switch(
    pci: FakePci, domain: str, root: str, up: str, downs: tuple[str, ...], *, acs: int = 0, numa: int = 0
) -> str:
    """A root port with a switch below it; gives the way to the switch's upstream port."""
    host = f"pci{domain}:{root[5:7]}"
    gen5 = ("32.0", "32.0", 16, 16)
    pci.add(root, host, "8086:352a", "060400", driver="pcieport", numa=numa, link=gen5,
            config=config_space((0x8086, 0x352A), port=ROOT, acs=0x1D))  # fmt: skip
    pci.add(up, f"{host}/{root}", "1000:c030", "060400", driver="pcieport", numa=numa, link=gen5,
            config=config_space((0x1000, 0xC030), port=UPSTREAM))  # fmt: skip
    for down in downs:
        pci.add(down, f"{host}/{root}/{up}", "1000:c030", "060400", driver="pcieport", numa=numa, link=gen5,
                config=config_space((0x1000, 0xC030), port=DOWNSTREAM, acs=acs))  # fmt: skip
    return f"{host}/{root}/{up}"
