"""Does the text of a source change anything? A coarse reading that rather says too much.

The proof is running it (test_probe_sources.py); this finds what a run on this machine does not reach.
"""

from __future__ import annotations

import re

# What changes a machine whatever its arguments are, as a word in the place of a command or anywhere else.
_COMMANDS = frozenset(
    """
apt apt-get chattr chgrp chmod chown cp dd dnf fallocate ifconfig insmod install kexec kill killall link ln
mkdir mkfifo mknod mktemp modprobe mount mst mv nvidia-modprobe nvidia-persistenced patch pip pip3 pkill poweroff reboot
renice rm rmdir rmmod rsync scp setfacl setpci shred shutdown split sponge ssh swapoff swapon sync tee touch truncate
umount unlink update-initramfs useradd usermod wget curl yum zypper eval exec trap setsid nohup
""".split()  # noqa: SIM905
)

# A command with the option or argument that makes it change something.
_WITH = {
    "sed": r"-\w*i|--in-place|w\s",
    "sort": r"-o|--output",
    "sysctl": r"-w|--write|-p|--load|--system|\S+=",
    "dmesg": r"-[cCDEn]\b|--clear|--read-clear|--console",
    "journalctl": r"--(rotate|vacuum|flush|sync|update|setup|relinquish)",
    "systemctl": r"(start|stop|restart|reload|enable|disable|mask|unmask|kill|set-|daemon-|reset-failed|isolate|edit)",
    "ethtool": r"-[sKGCALprEt]\b|--set|--reset",
    "ip": r"(add|del|delete|set|change|replace|flush)\b",
    "numactl": r"-[^Hs-]|--[^hs]",
    "cpupower": r"(set|frequency-set|idle-set)",
    "timedatectl": r"set",
    "ipmitool": r"(?!chassis$|status$|sdr$|sel$|list$|elist$|type$|info$)[a-z]\w*",
    "tuned-adm": r"(profile|off|auto)",
    "find": r"-(delete|exec|execdir|ok|fprint\w*|fls)",
    "rpm": r"-[iUeF]\b|--(install|erase|import|rebuilddb)",
    "date": r"-s|--set",
    "hostname": r"-F|\s[a-z]",
}

# nvidia-smi has dozens of options that change a GPU: only these may be used.
_SMI_MAY = re.compile(
    r"(-q|-x|-L|-i|-d|--query-[a-z-]+=\S*|--format=\S*|--id=\S*|--list-gpus|--version|-h|--help|[A-Z_,]+|\d+"
    r"|topo( -(m|p2p \w+|C|M))?|nvlink( -(s|e|c|i \d+|sn))*|mig -(lgi|lci|lgip|lcip)|fabric -q|c2c -(s|e))"
)

_REDIRECTION = re.compile(r"(?P<how>&>>?|>\||<>|\d*>>?)\s*(?P<to>[^\s;|&()<>]*&?[\d-]*)")
_AWK_WRITES = re.compile(
    r"\b(?:printf?)\b[^;}\n]*[^-=!<>]>(?!=)|\bsystem\s*\(|\|\s*getline|\bprintf?\b[^;}\n|]*\|(?!\|)"
)


def changes(body: str) -> list[str]:
    """What in the text of a source could change the machine; empty when it only reads."""
    found = []
    programs, text = _quotes_apart(body)
    for match in _REDIRECTION.finditer(text):
        if not re.fullmatch(r"/dev/null|&\d|&-", match["to"]):
            found.append(f"writes: {match[0].strip()}")
    for line in re.split(r"\n|;|&&|\|\|?|\bthen\b|\bdo\b|\{|\(|\)", text.replace("\\\n", " ")):
        found += _in_command(line)
    for program in programs:
        without_text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', program)
        without_text = re.sub(r"/(?:[^/\\\n]|\\.)+/", "//", without_text)
        if _AWK_WRITES.search(without_text):
            found.append(f"an awk program that writes or runs something: {program[:60]!r}")
        if not re.search(r"[{}$/]", program):  # a command line for sh -c, and not a program for awk or sed
            found += [part for line in re.split(r"[\n;|&]", program) for part in _in_command(line)]
    return found


_BEFORE = {"nd_cmd", "if", "while", "until", "!", "command", "$ND_SUDO", "$", "else", "env", "exec", "xargs"}


def _in_command(line: str) -> list[str]:
    words = line.split()
    while words and (words[0] in _BEFORE or re.match(r"\w+=", words[0])):
        words = words[1:]
    if words[:1] == ["nd_cmd_as"]:
        words = words[2:]
    if words[:1] == ["nd_have"] or words[:1] == ["-v"]:
        return []
    found = []
    for at, word in enumerate(words):
        after = words[at + 1 :]
        if word in _COMMANDS and (at == 0 or words[at - 1] in _BEFORE or re.fullmatch(r"[\d.]+s?", words[at - 1])):
            found.append(f"runs {word}")
        if word in _WITH and any(re.match(_WITH[word], part) for part in after):
            found.append(f"runs {' '.join(words[at:])}")
        if word == "ldconfig" and "-p" not in after:
            found.append("runs ldconfig without -p")
        if word == "nvidia-smi" and not re.fullmatch(rf"({_SMI_MAY.pattern}\s*)*", " ".join(after).partition(" 2>")[0]):
            found.append(f"runs {' '.join(words[at:])}")
    return found


def _quotes_apart(body: str) -> tuple[list[str], str]:
    """Single-quoted texts (awk and sed programs), and the rest with `Q` in their place. Comments go."""
    programs: list[str] = []
    out: list[str] = []
    at = 0
    double = False
    while at < len(body):
        char = body[at]
        if char == "\\":
            out.append(body[at : at + 2] if body[at + 1 : at + 2] == "\n" else "B")
            at += 2
            continue
        if char == '"':
            double = not double
        elif char == "'" and not double:
            end = body.find("'", at + 1)
            end = len(body) if end < 0 else end
            programs.append(body[at + 1 : end])
            out.append("Q")
            at = end + 1
            continue
        elif char == "#" and not double and (not out or out[-1] in " \t\n;"):
            at = body.find("\n", at) if "\n" in body[at:] else len(body)
            continue
        if char != '"':
            out.append(char)
        at += 1
    return programs, "".join(out)
