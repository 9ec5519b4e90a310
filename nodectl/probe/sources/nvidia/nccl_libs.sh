# source: nccl_libs
# about: NCCL libraries, network plugins and nccl-tests in the loader's cache and the usual folders
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

# Network plugins with the versions of NCCL's plugin interface that they offer: FILE<tab>REAL FILE<tab>VERSIONS.
nc_plugins() {
  for nc_path in "$@"; do
    [ -f "$nc_path" ] || continue
    nc_versions=$(grep -aoE 'ncclNetPlugin_v[0-9]+' "$nc_path" | sort -u | tr '\n' ' ')
    printf '%s\t%s\t%s\n' "$nc_path" "$(readlink -f "$nc_path")" "$nc_versions"
  done
  return 0
}
if nd_have ldconfig; then
  # shellcheck disable=SC2046 # one path a line, without blanks
  nd_cmd_as 'cached plugins' nc_plugins $(ldconfig -p | sed -n 's/.*libnccl-net.* => //p')
fi
nd_cmd_as plugins nc_plugins /opt/amazon/*/lib*/libnccl-net*.so /opt/aws-ofi-nccl/lib*/libnccl-net*.so \
  /opt/hpcx*/nccl_rdma_sharp_plugin/lib/libnccl-net*.so /opt/hpcx*/ncclnet_plugin/lib/libnccl-net*.so \
  /usr/local/gib/lib64/libnccl-net*.so /usr/local/lib/libnccl-net*.so /usr/lib/*-linux-gnu/libnccl-net*.so \
  /usr/lib64/libnccl-net*.so

nc_tests() {
  for nc_path in "$(command -v all_reduce_perf)" /opt/nccl-tests/build/all_reduce_perf /opt/nccl_tests/build/all_reduce_perf \
    /usr/local/nccl-tests/build/all_reduce_perf /usr/local/nccl-tests/bin/all_reduce_perf \
    /usr/local/bin/all_reduce_perf /opt/hpcx*/nccl_tests/all_reduce_perf; do
    [ -f "$nc_path" ] && readlink -f "$nc_path"
  done
  return 0
}
nd_cmd_as nccl-tests nc_tests
