# source: amd_gpu
# about: AMD Instinct GPUs, as amd-smi (or rocm-smi) and the driver's files in sysfs tell of them
# by_hand: amd-smi static; amd-smi metric -u -p -t -e -P; amd-smi xgmi -l
# timeout: 90
# lane: slow
# root: no

PATH=$PATH:/opt/rocm/bin
amd_gpus=
amd_files=
for pci_dir in /sys/bus/pci/devices/*; do
  read -r pci_vendor 2>/dev/null <"$pci_dir/vendor" || continue
  [ "$pci_vendor" = 0x1002 ] || continue
  read -r pci_class 2>/dev/null <"$pci_dir/class" || continue
  read -r pci_device 2>/dev/null <"$pci_dir/device" || continue
  # MI300 and later are processing accelerators; earlier ones are told from graphics by their ids.
  case $pci_class-$pci_device in
  0x12* | 0x03*-0x738[8ce] | 0x03*-0x740[8cf] | 0x03*-0x7410) ;;
  *) continue ;;
  esac
  amd_gpus="$amd_gpus ${pci_dir##*/}"
  [ -e "$pci_dir/driver" ] || continue
  for amd_file in "$pci_dir"/uevent "$pci_dir"/mem_info_vram_total "$pci_dir"/mem_info_vram_used \
    "$pci_dir"/vbios_version "$pci_dir"/product_name "$pci_dir"/serial_number "$pci_dir"/unique_id \
    "$pci_dir"/current_compute_partition "$pci_dir"/current_memory_partition "$pci_dir"/gpu_busy_percent \
    "$pci_dir"/pcie_replay_count "$pci_dir"/current_link_speed "$pci_dir"/max_link_speed \
    "$pci_dir"/current_link_width "$pci_dir"/max_link_width "$pci_dir"/xgmi_device_id \
    "$pci_dir"/xgmi_hive_info/xgmi_hive_id "$pci_dir"/ras/*_err_count "$pci_dir"/ras/gpu_vram_bad_pages \
    "$pci_dir"/fw_version/*_fw_version "$pci_dir"/hwmon/hwmon*/power1_* "$pci_dir"/hwmon/hwmon*/temp*_*; do
    # What cannot be read by anyone but root is left out here and missing in the row.
    [ -f "$amd_file" ] && [ -r "$amd_file" ] && amd_files="$amd_files $amd_file"
  done
done
nd_cmd ls -d /sys/bus/pci/devices
nd_text 'AMD GPUs' "${amd_gpus# }"
if [ -n "$amd_gpus" ]; then
  # shellcheck disable=SC2086 # a list of paths without blanks
  [ -z "$amd_files" ] || nd_grep $amd_files
  nd_file /sys/module/amdgpu/version /opt/rocm/.info/version
  nd_cmd ls -ln /dev/kfd /dev/dri
  if nd_have amd-smi; then
    nd_cmd_as 'amd-smi version --json' timeout -k 1 15 amd-smi version --json
    nd_cmd_as 'amd-smi static --json' timeout -k 1 30 amd-smi static --json
    # Without -x: to read the XGMI error state (sysfs xgmi_error, too) clears it.
    nd_cmd_as 'amd-smi metric -u -p -t -e -P --json' timeout -k 1 30 amd-smi metric -u -p -t -e -P --json
    nd_cmd_as 'amd-smi xgmi -l --json' timeout -k 1 15 amd-smi xgmi -l --json
  elif nd_have rocm-smi; then
    nd_cmd_as 'rocm-smi --json' timeout -k 1 40 rocm-smi --showbus --showid --showproductname --showvbios --showtemp \
      --showpower --showmaxpower --showmeminfo vram --showuniqueid --showserial --showuse --showreplaycount \
      --showdriverversion --json
  fi
fi
