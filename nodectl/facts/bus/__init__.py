"""The PCI bus, as sysfs shows it.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = (
    "bridge_power",
    "pci",
    "pcie_aer",
    "pcie_tree",
)
