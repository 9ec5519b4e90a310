# source: nccl_libs
# about: NCCL libraries in the loader's cache, the usual folders, CUDA toolkits and /opt
# by_hand: ldconfig -p | grep nccl
# timeout: 15
# lane: fast
# root: no

nc_cache() {
  nc_out=$(ldconfig -p) || return
  printf '%s\n' "$nc_out" | grep 'libnccl\.so'
  return 0
}

# FILE<tab>REAL FILE of what the cache names.
nc_cached() {
  nc_cache | sed -n 's/.* => //p' | while read -r nc_path; do
    printf '%s\t%s\n' "$nc_path" "$(readlink -f "$nc_path")"
  done
}

# The same of the usual folders. The depth is fixed: no search through whole disks.
nc_list() {
  for nc_path in /usr/lib/x86_64-linux-gnu/libnccl.so* /usr/lib/aarch64-linux-gnu/libnccl.so* /usr/lib64/libnccl.so* \
    /usr/lib/libnccl.so* /usr/local/lib/libnccl.so* /usr/local/lib64/libnccl.so* \
    /usr/local/cuda/lib64/libnccl.so* /usr/local/cuda-*/lib64/libnccl.so* \
    /usr/local/cuda*/targets/*/lib/libnccl.so* /usr/local/nccl*/lib/libnccl.so* \
    /opt/nccl*/lib/libnccl.so* /opt/nccl*/build/lib/libnccl.so* /opt/*/lib/libnccl.so* /opt/*/lib64/libnccl.so* \
    /opt/nvidia/hpc_sdk/Linux_*/*/comm_libs/*/nccl/lib/libnccl.so* \
    /usr/local/lib/python3*/*-packages/nvidia/nccl/lib/libnccl.so* /usr/lib/python3*/*-packages/nvidia/nccl/lib/libnccl.so*; do
    [ -e "$nc_path" ] && printf '%s\t%s\n' "$nc_path" "$(readlink -f "$nc_path")"
  done
  return 0
}

if nd_have ldconfig; then nd_cmd_as 'cached libraries' nc_cached; fi
nd_cmd_as libraries nc_list
