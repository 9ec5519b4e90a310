# source: nvidia_userspace
# about: driver libraries and GSP firmware files on disk
# by_hand: ldconfig -p | grep -E 'libcuda|libnvidia-ml'; ls /lib/firmware/nvidia
# timeout: 10
# lane: fast
# root: no

nv_cache() {
  nv_out=$(ldconfig -p) || return
  printf '%s\n' "$nv_out" | grep -E 'libnvidia-ml\.so|libcuda\.so'
  return 0
}

# FILE<tab>REAL FILE of what the cache names.
nv_cached() {
  nv_cache | sed -n 's/.* => //p' | while read -r nv_path; do
    printf '%s\t%s\n' "$nv_path" "$(readlink -f "$nv_path")"
  done
}

# Each library by its short name, and the file that it stands for: SHORT<tab>FILE.
nv_list() {
  for nv_dir in "$@"; do
    for nv_path in "$nv_dir"/libnvidia-ml.so.* "$nv_dir"/libcuda.so "$nv_dir"/libcuda.so.*; do
      [ -e "$nv_path" ] || continue
      printf '%s\t%s\n' "$nv_path" "$(readlink -f "$nv_path")"
    done
  done
  return 0
}

nv_firmware() {
  for nv_dir in /lib/firmware/nvidia /usr/lib/firmware/nvidia /lib/firmware/updates/nvidia /run/current-system/firmware/nvidia; do
    for nv_path in "$nv_dir"/[0-9]*/gsp*.bin*; do
      [ -e "$nv_path" ] && printf '%s\n' "$nv_path"
    done
  done
  return 0
}

# What LD_LIBRARY_PATH names goes before the loader's cache, and the cache before the usual folders: distributions,
# NVIDIA's own places, NixOS, containers, Kubernetes, WSL, the GPU operator's driver container.
nv_preferred() {
  nv_ifs=$IFS
  IFS=:
  # shellcheck disable=SC2086 # a list of folders, split at its colons
  set -- ${LD_LIBRARY_PATH:-}
  IFS=$nv_ifs
  nv_list "$@"
}

nd_cmd_as LD_LIBRARY_PATH nv_preferred
if nd_have ldconfig; then
  nd_cmd_as 'ldconfig -p' nv_cache
  nd_cmd_as 'cached libraries' nv_cached
fi
nd_cmd_as libraries nv_list /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib /lib64 \
  /usr/lib/x86_64-linux-gnu/nvidia/current /usr/lib64/nvidia /usr/lib/nvidia /run/opengl-driver/lib \
  /usr/local/nvidia/lib64 /opt/nvidia/lib64 /home/kubernetes/bin/nvidia/lib64 /usr/lib/wsl/lib \
  /run/nvidia/driver/usr/lib/x86_64-linux-gnu /run/nvidia/driver/usr/lib64
nd_cmd_as firmware nv_firmware
