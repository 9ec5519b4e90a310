# source: kubelet
# about: the Kubernetes node: kubelet's version and settings, device plugins, and what the GPU operator has validated
# by_hand: kubelet --version; cat /var/lib/kubelet/config.yaml; ls /var/lib/kubelet/device-plugins
# timeout: 15
# lane: slow
# root: helps
# Only the keys that are named here leave the node: flags, environment and checkpoints may hold anything.
PATH=$PATH:/var/lib/rancher/rke2/bin:/usr/local/bin:/opt/bin:/home/kubernetes/bin
kb_pid=$(pidof kubelet 2>/dev/null | tr ' ' '\n' | tail -n 1)
kb_found=
nd_have kubelet && kb_found=kubelet
[ -d /var/lib/rancher/k3s/agent ] && kb_found="$kb_found k3s"
[ -n "$kb_pid" ] && kb_found="$kb_found running"
nd_text found "${kb_found# }"
[ -n "$kb_found" ] || exit 0
nd_have kubelet && nd_cmd_as 'kubelet --version' timeout -k 1 5 kubelet --version
kb_keys='cgroupDriver|cpuManagerPolicy|topologyManagerPolicy|topologyManagerScope|memoryManagerPolicy|maxPods|failSwapOn|swapBehavior|shutdownGracePeriod|shutdownGracePeriodCriticalPods|containerRuntimeEndpoint'
kb_flags() {
    tr '\0' '\n' <"/proc/$1/cmdline" | awk '
    hold != "" { print hold "\t" $0; hold = ""; next }
    /^--(config|config-dir|cgroup-driver|cpu-manager-policy|topology-manager-policy|topology-manager-scope|memory-manager-policy|max-pods|fail-swap-on|container-runtime-endpoint)$/ { hold = $0 }
    /^--(config|config-dir|cgroup-driver|cpu-manager-policy|topology-manager-policy|topology-manager-scope|memory-manager-policy|max-pods|fail-swap-on|container-runtime-endpoint)=/ {
        sub(/=/, "\t"); print
    }
    END { print "nd_complete" }'
}
kb_config=
if [ -n "$kb_pid" ] && [ -r "/proc/$kb_pid/cmdline" ]; then
    nd_cmd_as flags kb_flags "$kb_pid"
    kb_config=$(kb_flags "$kb_pid" | awk -F'\t' '$1 == "--config" { print $2 }')
fi
for kb_file in "$kb_config" /var/lib/kubelet/config.yaml /etc/kubernetes/kubelet/config.json \
    /etc/kubernetes/kubelet/kubelet-config.json /home/kubernetes/kubelet-config.yaml; do
    kb_config=$kb_file
    [ -n "$kb_file" ] && [ -e "$kb_file" ] && break
    kb_config=
done
# The settings are YAML or JSON; their names stand nowhere else in them.
# shellcheck disable=SC2016 # a program for awk
kb_take='
{ gsub(/[,{}]/, "\n"); n = split($0, part, "\n") }
{
    for (i = 1; i <= n; i++) {
        line = part[i]
        sub(/[ \t]+#.*/, "", line)
        gsub(/[" \t\r\047]/, "", line)
        colon = index(line, ":")
        if (colon && substr(line, 1, colon - 1) ~ ("^(" want ")$")) print substr(line, 1, colon - 1) "\t" substr(line, colon + 1)
    }
}
END { print "nd_complete" }'
if [ -z "$kb_config" ] && [ -d /var/lib/kubelet ] && [ ! -x /var/lib/kubelet ]; then kb_config=/var/lib/kubelet/config.yaml; fi
if [ -n "$kb_config" ]; then
    kb_asroot=
    [ -r "$kb_config" ] || kb_asroot=$ND_SUDO
    # shellcheck disable=SC2086 # $ND_SUDO is nothing, or words
    nd_cmd_as settings $kb_asroot awk -v want="$kb_keys" "$kb_take" "$kb_config"
fi
kb_plugins=/var/lib/kubelet/device-plugins
kb_asroot=
[ -r "$kb_plugins" ] && [ -x "$kb_plugins" ] || kb_asroot=$ND_SUDO
if [ -d /var/lib/kubelet ]; then
    # shellcheck disable=SC2086
    nd_cmd_as sockets $kb_asroot ls -1 "$kb_plugins"
    [ -r "$kb_plugins/kubelet_internal_checkpoint" ] || kb_asroot=$ND_SUDO
    # Only which devices are registered; the rest of the checkpoint holds what containers were given.
    # shellcheck disable=SC2086
    nd_cmd_as registered $kb_asroot sed -n 's/.*"RegisteredDevices":\({[^}]*}\).*/\1/p' "$kb_plugins/kubelet_internal_checkpoint"
    # shellcheck disable=SC2086
    nd_cmd_as 'dra plugins' $kb_asroot ls -1 /var/lib/kubelet/plugins
fi
[ -d /run/nvidia/validations ] && nd_cmd_as validations ls -1 /run/nvidia/validations
[ -e /run/nvidia/driver/usr/bin/nvidia-smi ] && nd_text 'driver container' /run/nvidia/driver
:
