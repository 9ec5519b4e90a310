# source: intel_gpu
# about: Intel Data Center GPUs (Max, Flex), as xpu-smi and the driver's files in sysfs tell of them
# by_hand: xpu-smi discovery; xpu-smi health -l; xpu-smi stats -d 0
# timeout: 90
# lane: slow
# root: no

xpu_gpus=
xpu_files=
for pci_dir in /sys/bus/pci/devices/*; do
  read -r pci_vendor 2>/dev/null <"$pci_dir/vendor" || continue
  [ "$pci_vendor" = 0x8086 ] || continue
  read -r pci_class 2>/dev/null <"$pci_dir/class" || continue
  read -r pci_device 2>/dev/null <"$pci_dir/device" || continue
  case $pci_class-$pci_device in
  0x03*-0x0bd[0-9ab] | 0x03*-0x0b69 | 0x03*-0x0b6e | 0x03*-0x56c[012]) ;;
  *) continue ;;
  esac
  xpu_gpus="$xpu_gpus ${pci_dir##*/}"
  for xpu_file in "$pci_dir"/uevent "$pci_dir"/drm/card*/lmem_total_bytes "$pci_dir"/drm/card*/gt/gt*/error_counter/*; do
    [ -f "$xpu_file" ] && [ -r "$xpu_file" ] && xpu_files="$xpu_files $xpu_file"
  done
done
nd_cmd ls -d /sys/bus/pci/devices
nd_text 'Intel GPUs' "${xpu_gpus# }"
if [ -n "$xpu_gpus" ]; then
  # shellcheck disable=SC2086 # a list of paths without blanks
  nd_grep $xpu_files
  nd_cmd_as 'xpu-smi discovery --dump' timeout -k 1 30 xpu-smi discovery --dump 1,2,4,5,8,9,11,13,14,15,16
  if nd_have xpu-smi; then
    nd_cmd_as 'xpu-smi health -l' timeout -k 1 30 xpu-smi health -l
    for xpu_gpu in $xpu_gpus; do
      nd_cmd_as "xpu-smi stats -d $xpu_gpu" timeout -k 1 15 xpu-smi stats -d "$xpu_gpu"
      nd_cmd_as "xpu-smi discovery -d $xpu_gpu" timeout -k 1 15 xpu-smi discovery -d "$xpu_gpu"
    done
  fi
fi
