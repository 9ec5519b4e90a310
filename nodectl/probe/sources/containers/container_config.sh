# source: container_config
# about: the settings of Docker, containerd, CRI-O, Podman, Enroot and the NVIDIA runtime that bear on GPUs
# by_hand: cat /etc/docker/daemon.json /etc/containerd/config.toml /etc/nvidia-container-runtime/config.toml
# timeout: 10
# lane: slow
# root: helps
# These files may hold passwords and tokens of registries. Only the keys that are named here leave the node.

# Takes JSON apart: PATH<tab>VALUE for each value whose path is wanted. PATH is the keys joined with |. A text that is
# no JSON ends with "nd_broken".
# shellcheck disable=SC2016 # a program for awk
cc_json='
function skip() { while (at <= n && index(" \t\r\n", substr(s, at, 1))) at++ }
function text(    out, c) {
    at++
    while (at <= n) {
        c = substr(s, at, 1)
        if (c == "\\") { out = out substr(s, at, 2); at += 2; continue }
        at++
        if (c == "\"") return out
        out = out c
    }
    bad = 1
    return ""
}
function value(path, depth,    c, key, from, i) {
    skip()
    c = substr(s, at, 1)
    if (bad || depth > 12 || at > n) { bad = 1; return }
    if (c == "{" || c == "[") {
        at++
        for (i = 0; !bad; i++) {
            skip()
            if (substr(s, at, 1) == (c == "{" ? "}" : "]")) { at++; return }
            if (i) {
                if (substr(s, at, 1) != ",") { bad = 1; return }
                at++
                skip()
            }
            key = i
            if (c == "{") {
                if (substr(s, at, 1) != "\"") { bad = 1; return }
                key = text()
                skip()
                if (substr(s, at, 1) != ":") { bad = 1; return }
                at++
            }
            value(path == "" ? key : path "|" key, depth + 1)
        }
        return
    }
    if (c == "\"") key = text()
    else {
        from = at
        while (at <= n && !index(",}] \t\r\n", substr(s, at, 1))) at++
        key = substr(s, from, at - from)
        if (key !~ /^(true|false|null|-?[0-9][0-9.eE+-]*)$/) bad = 1
    }
    if (!bad && path ~ want && path !~ unwanted) print path "\t" key
}
{ s = s $0 "\n" }
END {
    n = length(s)
    at = 1
    if (n > 65536) bad = 1
    else if (s ~ /[^ \t\r\n]/) { value("", 0); skip(); if (at <= n) bad = 1 }
    print bad ? "nd_broken" : "nd_complete"
}'

# Takes TOML apart as far as these files use it: SECTION|KEY<tab>VALUE, the value as it is written. Comments go. The
# files begin with "nd_file PATH".
# shellcheck disable=SC2016
cc_toml='
function say(    path) {
    path = section == "" ? key : section "|" key
    gsub(/["\047]/, "", path)
    if (path ~ want && path !~ unwanted) print path "\t" val
    key = ""
}
FNR == 1 { section = ""; key = ""; print "nd_file " FILENAME }
{
    line = $0
    sub(/^[ \t]+/, "", line)
    if (line ~ /^#/ || line ~ /^[ \t\r]*$/) next
    if (key != "") {
        sub(/[ \t]+#.*$/, "", line)
        val = val " " line
        if (line ~ /\]/ || length(val) > 2000) say()
        next
    }
    if (line ~ /^\[/) {
        sub(/[ \t]*(#.*)?\r?$/, "", line)
        gsub(/^\[+[ \t]*|[ \t]*\]+$/, "", line)
        section = line
        if (("[" line) ~ want) { path = line; gsub(/["\047]/, "", path); print path "|\t" }
        next
    }
    eq = index(line, "=")
    if (!eq) next
    key = substr(line, 1, eq - 1)
    val = substr(line, eq + 1)
    gsub(/[ \t]+$/, "", key)
    sub(/^[ \t]+/, "", val)
    sub(/[ \t\r]+$/, "", val)
    if (val ~ /^\[/ && val !~ /\]/) next
    say()
}
END { print "nd_complete" }'

# NAME PROGRAM WANTED FILE...  one section for all those of the files that there are
cc_take() {
    cc_name=$1 cc_program=$2 cc_wanted=$3
    shift 3
    cc_n=$#
    for cc_file; do
        # Below a folder that only root may enter nobody else can say that a file is not there.
        if [ -e "$cc_file" ] || { [ -d "${cc_file%/*}" ] && [ ! -x "${cc_file%/*}" ]; }; then
            case $cc_file in *'*'*) ;; *) set -- "$@" "$cc_file" ;; esac
        fi
    done
    shift "$cc_n"
    [ "$#" -gt 0 ] || return 0
    cc_asroot=
    for cc_file; do [ -r "$cc_file" ] || cc_asroot=$ND_SUDO; done
    # shellcheck disable=SC2086 # $ND_SUDO is nothing, or words
    nd_cmd_as "$cc_name" $cc_asroot awk -v want="$cc_wanted" \
        -v unwanted='[Pp]assword|[Tt]oken|[Aa]uth|[Ss]ecret|[Pp]roxy|registry' "$cc_program" "$@"
}

# The options that a running dockerd was started with.
cc_dockerd() {
    tr '\0' '\n' <"/proc/$1/cmdline" | awk '
    hold != "" { print hold "\t" $0; hold = ""; next }
    /^--(default-runtime|add-runtime|data-root|exec-opt|storage-driver|default-shm-size|default-ulimit|log-driver|config-file)$/ { hold = $0 }
    /^-s$/ { hold = "--storage-driver" }
    /^--(default-runtime|add-runtime|data-root|exec-opt|storage-driver|default-shm-size|default-ulimit|log-driver|config-file)=/ {
        sub(/=/, "\t"); print
    }
    /^--live-restore(=true)?$/ { print "--live-restore\ttrue" }
    END { print "nd_complete" }'
}

cc_docker='^(default-runtime|default-shm-size|live-restore|log-driver|storage-driver|data-root|graph|userns-remap)$|^runtimes[|][^|]+[|](path|runtimeType)$|^exec-opts[|]|^default-ulimits[|](memlock|nofile)[|]|^log-opts[|]max-(size|file)$|^features[|]cdi$'
cc_runtimes='^(version|imports|root|disabled_plugins)$|(containerd|crio.runtime)[|](default_runtime_name|default_runtime|cgroup_manager)$|runtimes[.][^.|]+[|]runtime_(type|path)$|[|]BinaryName$|[|]SystemdCgroup$|[|]enable_cdi$|^\[.*runtimes[.][^.]+$'
cc_nvidia='^(disable-require|accept-nvidia-visible-devices[a-z-]+)$|cli[|](root|no-cgroups|ldconfig|path|user|load-kmods)$|runtime[|](mode|runtimes)$|hook[|]skip-mode-detection$|^features[|]'

[ -e /var/snap/docker/current/config/daemon.json ] && [ ! -e /etc/docker/daemon.json ] &&
    cc_take /etc/docker/daemon.json "$cc_json" "$cc_docker" /var/snap/docker/current/config/daemon.json
cc_take /etc/docker/daemon.json "$cc_json" "$cc_docker" /etc/docker/daemon.json
cc_pid=$(cat /run/docker.pid 2>/dev/null)
case $cc_pid in
'' | *[!0-9]*) ;;
*) [ -r "/proc/$cc_pid/cmdline" ] && nd_cmd_as 'dockerd options' cc_dockerd "$cc_pid" ;;
esac
cc_take containerd "$cc_toml" "$cc_runtimes" /etc/containerd/config.toml /etc/containerd/conf.d/*.toml \
    /var/lib/rancher/rke2/agent/etc/containerd/config.toml /var/lib/rancher/k3s/agent/etc/containerd/config.toml
cc_take crio "$cc_toml" "$cc_runtimes" /etc/crio/crio.conf /etc/crio/crio.conf.d/*.conf
cc_own=/etc/nvidia-container-runtime/config.toml
[ -e "$cc_own" ] || cc_own=/usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml
cc_take nvidia-container-runtime "$cc_toml" "$cc_nvidia" "$cc_own"

# KEY<tab>VALUE of Enroot's paths; the rest of its settings may be anything.
cc_enroot() {
    awk '/^[ \t]*#/ { next }
    $1 ~ /^ENROOT_[A-Z]+_PATH$/ { key = $1; sub(/^[ \t]*[^ \t]+[ \t]+/, ""); print key "\t" $0 }
    END { print "nd_complete" }' "$@"
}
if [ -e /etc/enroot/enroot.conf ]; then
    set -- /etc/enroot/enroot.conf
    for cc_file in /etc/enroot/enroot.conf.d/*.conf; do [ -r "$cc_file" ] && set -- "$@" "$cc_file"; done
    nd_cmd_as enroot cc_enroot "$@"
fi
cc_hooks() {
    for cc_file in /etc/enroot/hooks.d/* /usr/local/etc/enroot/hooks.d/*; do
        [ -e "$cc_file" ] || continue
        if [ -x "$cc_file" ]; then echo "yes	${cc_file##*/}"; else echo "no	${cc_file##*/}"; fi
    done
}
[ -d /etc/enroot ] || [ -d /usr/local/etc/enroot ] && nd_cmd_as 'enroot hooks' cc_hooks

# Is there what the settings name? The programs of GPU runtimes, ldconfig, and Podman's old hook: there or gone, PATH.
PATH=$PATH:/usr/local/nvidia/toolkit
cc_look() {
    for cc_file; do
        case $cc_file in
        /*) if [ -e "$cc_file" ]; then echo "there	$cc_file"; else echo "gone	$cc_file"; fi ;;
        *) if nd_have "$cc_file"; then echo "there	$cc_file"; else echo "gone	$cc_file"; fi ;;
        esac
    done
}
cc_named() {
    awk '{ while (match($0, /\/[A-Za-z0-9_.\/-]*nvidia-container-runtime[a-z.-]*/)) {
        path = substr($0, RSTART, RLENGTH)
        if (!seen[path]++ && ++n < 50) print path
        $0 = substr($0, RSTART + RLENGTH)
    } }'
}
cc_files() {
    cc_look /usr/share/containers/oci/hooks.d/oci-nvidia-hook.json /etc/containers/oci/hooks.d/oci-nvidia-hook.json \
        /sbin/ldconfig /sbin/ldconfig.real nvidia-container-runtime nvidia-container-runtime.cdi \
        nvidia-container-runtime.legacy nvidia-container-runtime-hook
    for cc_file; do
        if [ -r "$cc_file" ]; then cat "$cc_file"; elif [ -e "$cc_file" ]; then $ND_SUDO cat "$cc_file" 2>/dev/null; fi
    done | cc_named | while read -r cc_file; do cc_look "$cc_file"; done
}
nd_cmd_as 'files that are there' cc_files /etc/docker/daemon.json /var/snap/docker/current/config/daemon.json \
    /etc/containerd/config.toml /etc/containerd/conf.d/*.toml /etc/crio/crio.conf /etc/crio/crio.conf.d/*.conf \
    /var/lib/rancher/rke2/agent/etc/containerd/config.toml /var/lib/rancher/k3s/agent/etc/containerd/config.toml
[ -e /sys/fs/cgroup/cgroup.controllers ] && nd_text cgroup v2
[ -e /sys/fs/cgroup/cgroup.controllers ] || [ ! -e /sys/fs/cgroup ] || nd_text cgroup v1
# What file systems the folders of containers lie on: MOUNT POINT<tab>TYPE, without those of single containers.
cc_mounts() {
    awk '$5 ~ /^\/(var\/lib\/(kubelet|containerd|docker|containers)\/.|run\/(user|containerd|netns|docker|k3s)\/|snap\/|proc|sys|dev)/ { next }
    { for (i = 7; i <= NF && $i != "-"; i++) {} print $5 "\t" $(i + 1); if (++n == 1000) exit }
    END { print "nd_complete" }' /proc/self/mountinfo
}
# How many users have subordinate ids, and nothing of who they are.
cc_ids() {
    awk -F: 'FNR == 1 { print "file " FILENAME } /^[^#:]+:[0-9]+:[0-9]+$/ && $3 >= 65536 { n[FILENAME]++ }
    END { for (name in n) print name " " n[name]; print "nd_complete" }' /etc/subuid /etc/subgid
}
[ -e /etc/subuid ] && [ -e /etc/subgid ] && nd_cmd_as 'subordinate ids' cc_ids
nd_cmd_as mounts cc_mounts
