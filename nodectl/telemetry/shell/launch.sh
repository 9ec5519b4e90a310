# shellcheck disable=SC2154,SC2016,SC2034 # nodectl/telemetry/launch.py puts in front: nd_agent nd_boot nd_sample nd_awk
# nd_backend and the ND_ variables.
#
# Picks what samples this node, and becomes it: python3 with the agent, else the shell's own sampler. Both are handed
# on in the environment, never in a file, and leave standard input, the channel, as it is.

# A python3 that can run the agent, in nd_py; or why there is none, in nd_why.
nd_find() {
nd_why='there is no python3'
for nd_p in python3 "$ND_ROOT"/usr/libexec/platform-python "$ND_ROOT"/usr/bin/python3.[1-9][0-9] "$ND_ROOT"/usr/bin/python3.[6-9] \
"$ND_ROOT"/usr/local/bin/python3.[1-9][0-9]; do
command -v "$nd_p" >/dev/null 2>&1 || continue
nd_o=$("$nd_p" -I -S -B -c '
import sys
if sys.version_info < (3, 6): sys.exit("Python %d.%d is older than 3.6" % sys.version_info[:2])
import binascii, ctypes, json, threading, zlib
print(sys.executable or "")' 2>&1 </dev/null) && {
nd_py=${nd_o:-$nd_p}
[ -x "$nd_py" ] || nd_py=$nd_p
return 0
}
# The last line of what it said: a traceback ends with what is wrong.
nd_why="no python3 that can be used ($nd_p: ${nd_o##*"$nd_nl"})"
done
return 1
}

nd_amd() {
for nd_f in "$ND_ROOT"/sys/class/drm/card*/device/vendor; do
read -r nd_v 2>/dev/null <"$nd_f" && [ "$nd_v" = 0x1002 ] && [ -e "${nd_f%/*}/mem_info_vram_total" ] && return 0
done
return 1
}

# What samples the GPUs where python3 does not, in nd_backend.
nd_lesser() {
if command -v nvidia-smi >/dev/null 2>&1; then
nd_backend=smi
elif nd_amd; then
nd_backend=amdgpu
else
nd_backend=none
nd_why="${nd_why:+$nd_why; }nvidia-smi is not on this node and the amdgpu driver has no GPU"
fi
}

nd_main() {
nd_nl='
'
nd_why=
for nd_p in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /usr/local/nvidia/bin /opt/bin \
/home/kubernetes/bin/nvidia/bin /usr/lib/wsl/lib; do
PATH=$PATH:$ND_ROOT$nd_p
done
case $nd_backend in
auto | nvml)
# An AMD node's python3 could only say that there is no NVML.
nd_nvidia=
[ -e "$ND_ROOT/proc/driver/nvidia/version" ] || [ -e "$ND_ROOT/dev/nvidiactl" ] || command -v nvidia-smi >/dev/null 2>&1 && nd_nvidia=1
if [ "$nd_backend" = auto ] && [ -z "$nd_nvidia" ] && nd_amd; then
nd_backend=amdgpu
elif nd_find; then
ND_AGENT=$nd_agent
export ND_AGENT
exec "$nd_py" -I -S -B -c "$nd_boot"
else
nd_lesser
fi
;;
esac
ND_BACKEND=$nd_backend ND_WHY=$nd_why ND_SAMPLE=$nd_sample ND_AWK=$nd_awk
export ND_BACKEND ND_WHY ND_SAMPLE ND_AWK
set -- sh -c 'eval "$ND_SAMPLE"'
command -v nice >/dev/null 2>&1 && set -- nice -n "$ND_NICE" "$@"
# A process group of its own can be ended as one. Over SSH and from the local transport it has one already.
read -r nd_x nd_x nd_x nd_x nd_g nd_x </proc/$$/stat
[ "$nd_g" = $$ ] || ! command -v setsid >/dev/null 2>&1 || set -- setsid "$@"
exec "$@"
}
