# source: cuda_toolkits
# about: CUDA toolkits and forward-compatibility libraries on disk
# by_hand: ls -d /usr/local/cuda*; nvcc --version
# timeout: 10
# lane: fast
# root: no

# FILE<tab>REAL FILE, so that one toolkit reached through several links counts once.
cu_list() {
  for cu_path in "$@"; do
    [ -e "$cu_path" ] && printf '%s\t%s\n' "$cu_path" "$(readlink -f "$cu_path")"
  done
  return 0
}

nd_cmd_as toolkits cu_list /usr/local/cuda /usr/local/cuda-* /opt/cuda /opt/cuda-* /opt/nvidia/cuda* /usr/lib/cuda
nd_cmd_as parts cu_list /usr/local/cuda*/bin/nvcc /usr/local/cuda*/lib64/libcudart.so.*.* /opt/cuda*/bin/nvcc \
  /opt/cuda*/lib64/libcudart.so.*.* /opt/nvidia/cuda*/lib64/libcudart.so.*.*
nd_cmd_as compat cu_list /usr/local/cuda*/compat/libcuda.so.*.* /opt/cuda*/compat/libcuda.so.*.* /usr/local/cuda*/compat/*/libcuda.so.*.*
for cu_dir in /usr/local/cuda /usr/local/cuda-* /opt/cuda /opt/cuda-* /opt/nvidia/cuda* /usr/lib/cuda; do
  [ -d "$cu_dir" ] || continue
  for cu_file in version.json version.txt; do
    [ -f "$cu_dir/$cu_file" ] && nd_file "$cu_dir/$cu_file"
  done
done
# A toolkit of the distribution has no version file, but a compiler on the PATH.
if nd_have nvcc; then
  nd_text 'nvcc path' "$(readlink -f "$(command -v nvcc)")"
  nd_cmd nvcc --version
fi
