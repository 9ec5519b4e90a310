# source: nvidia_devices
# about: the device files of NVIDIA GPUs, and the minor numbers that the driver has given them
# by_hand: ls -l /dev/nvidia*; grep Minor /proc/driver/nvidia/gpus/*/information
# timeout: 10
# lane: slow
# root: no
nv_files() {
  for nv_path in /dev/nvidia* /dev/nvidia-caps/* /run/nvidia/driver/dev/nvidia*; do
    if [ -c "$nv_path" ]; then
      printf '%s\tchar\t%s\n' "$(stat -c '%a %u %g' "$nv_path")" "$nv_path"
    elif [ -e "$nv_path" ] && [ ! -d "$nv_path" ]; then
      printf '%s\tother\t%s\n' "$(stat -c '%a %u %g' "$nv_path")" "$nv_path"
    fi
  done
  return 0
}
nv_minors() {
  [ -d /proc/driver/nvidia/gpus ] || return 0
  grep -aH '^Device Minor' /proc/driver/nvidia/gpus/*/information
}
nd_cmd_as 'device files' nv_files
nd_cmd_as 'Device Minor' nv_minors
