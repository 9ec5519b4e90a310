"""The steps that a check's `fix` may name, what each needs to know, and what it comes to when done by hand.

A step is rendered by a template of the same name (templates/fix); here stand only its name and its parameters, so that
a slip in a check is found when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class FixStep(msgspec.Struct, frozen=True):
    """One kind of step.

    Attributes:
        words: by hand, with the parameters in braces.
        params: those that it must have. optional: those that it may have.
        words_without: by hand, where an optional parameter that `words` names is left out.
    """

    words: str
    params: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    words_without: str = ""


STEPS: Mapping[str, FixStep] = {
    "cdi_generate": FixStep("nvidia-ctk cdi generate --output={output}", ("output",)),
    "container_runtime_configure": FixStep(
        "nvidia-ctk runtime configure --runtime={engine}, then restart {engine}",
        optional=("engine",),
        words_without="nvidia-ctk runtime configure --runtime=ENGINE (docker, containerd or crio), then restart it",
    ),
    "cpu_governor": FixStep(
        "cpupower frequency-set -g {governor}, and at boot through tuned or a unit of its own", ("governor",)
    ),
    "file_line": FixStep("{key}={value} in {path}", ("path", "key", "value"), ("restart",)),
    "kernel_argument": FixStep("add {argument} to the boot arguments", ("argument",)),
    "module_load": FixStep("modprobe {module}, and at boot a line {module} in /etc/modules-load.d", ("module",)),
    "module_option": FixStep(
        "options {module} {option}={value} in a file of /etc/modprobe.d, rebuild the initramfs, load the module anew",
        ("module", "option", "value"),
    ),
    "nic_qos": FixStep(
        "set {setting} on each RoCE port as the fabric has it (mlnx_qos, or dcb of iproute2), and at boot", ("setting",)
    ),
    "package_hold": FixStep(
        "apt-mark hold (Debian, Ubuntu), dnf versionlock add (RHEL) or zypper addlock (SUSE) for {packages}",
        ("packages",),
    ),
    "pci_setting": FixStep("setpci {register}={value} on the {where}", ("register", "value", "where"), ("at_boot",)),
    "service_enable": FixStep("systemctl enable --now {service}", ("service",)),
    "sysctl": FixStep("{key} = {value} in a file of /etc/sysctl.d, then sysctl --system", ("key", "value")),
    "systemd_dropin": FixStep(
        "systemctl edit {unit}: {lines} below [{section}]; then restart it", ("unit", "section", "lines")
    ),
    "tuned_profile": FixStep("tuned-adm profile {profile}", ("profile",)),
    "udev_rule": FixStep("{rule} in /etc/udev/rules.d/{file}, then udevadm trigger", ("file", "rule")),
}


def by_hand(step: str, params: Mapping[str, str]) -> str:
    """What the step comes to in words; its parameters as text. The name alone for a step that is not known."""
    known = STEPS.get(step)
    if known is None:
        return step
    try:
        return known.words.format(**params)
    except KeyError:
        return known.words_without or step


def problem_with(step: str, given: Mapping[str, object]) -> tuple[str, str]:
    """(parameter, what is wrong) of a known step's parameters; empty texts when all is well."""
    known = STEPS[step]
    for name in known.params:
        if name not in given:
            return "", f"the step {step} wants {', '.join(known.params)}: {name} is missing"
    for name in given:
        if name not in (*known.params, *known.optional):
            allowed = ", ".join((*known.params, *known.optional)) or "none"
            return name, f"the step {step} has no parameter {name} (it has {allowed})"
    return "", ""
