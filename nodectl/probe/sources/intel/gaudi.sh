# source: gaudi
# about: Gaudi accelerators, as hl-smi and the habanalabs driver's files in sysfs tell of them
# by_hand: hl-smi; hl-smi -n link -i ADDRESS
# timeout: 90
# lane: slow
# root: no

hl_gpus=
hl_files=
for pci_dir in /sys/bus/pci/devices/*; do
  read -r pci_vendor 2>/dev/null <"$pci_dir/vendor" || continue
  [ "$pci_vendor" = 0x1da3 ] || continue
  read -r pci_class 2>/dev/null <"$pci_dir/class" || continue
  case $pci_class in 0x12*) ;; *) continue ;; esac
  hl_gpus="$hl_gpus ${pci_dir##*/}"
  hl_files="$hl_files $pci_dir/uevent"
done
nd_cmd ls -d /sys/bus/pci/devices
nd_text Gaudi "${hl_gpus# }"
if [ -n "$hl_gpus" ]; then
  nd_file /sys/module/habanalabs/version
  # The driver in the kernel has class accel, the one of the vendor's package habanalabs.
  for hl_dir in /sys/class/accel/accel[0-9]*/device /sys/class/habanalabs/hl[0-9]*; do
    case $hl_dir in */hl_controlD*) continue ;; esac
    for hl_file in pci_addr device_type status preboot_btl_ver cpucp_ver armcp_ver fw_os_ver hard_reset_cnt soft_reset_cnt; do
      [ -r "$hl_dir/$hl_file" ] && hl_files="$hl_files $hl_dir/$hl_file"
    done
  done
  # shellcheck disable=SC2086 # a list of paths without blanks
  nd_grep $hl_files
  nd_cmd_as hl-smi timeout -k 1 30 hl-smi
  if nd_have hl-smi; then
    # Columns that an older hl-smi does not know make it refuse all of them: so two lists.
    hl_some=index,module_id,bus_id,name,memory.total,memory.used,temperature.aip
    nd_cmd_as 'hl-smi -Q usual' timeout -k 1 20 hl-smi -Q "$hl_some" -f csv,noheader
    nd_cmd_as 'hl-smi -Q more' timeout -k 1 20 hl-smi -Q bus_id,uuid,power.draw,power.max,utilization.aip -f csv,noheader
    for hl_gpu in $hl_gpus; do
      nd_cmd_as "hl-smi -n ports -i $hl_gpu" timeout -k 1 10 hl-smi -n ports -i "$hl_gpu"
      nd_cmd_as "hl-smi -n link -i $hl_gpu" timeout -k 1 10 hl-smi -n link -i "$hl_gpu"
    done
  fi
fi
