# source: pcie_aer
# about: PCIe error counters (AER) of GPUs, NICs, drives and the bridges above them, read twice
# by_hand: grep . /sys/bus/pci/devices/ADDRESS/aer_dev_*
# timeout: 30
# lane: slow
# root: no
# sample: yes

# First the GPUs and NICs with counters, and the way from the root to each: /sys/devices/pci0000:15/BRIDGE/BRIDGE/GPU.
aer_kinds=
aer_ways=
for aer_dir in /sys/bus/pci/devices/*; do
  [ -e "$aer_dir/aer_dev_correctable" ] || continue
  read -r aer_vendor 2>/dev/null <"$aer_dir/vendor" || continue
  read -r aer_class 2>/dev/null <"$aer_dir/class" || continue
  case $aer_vendor-$aer_class in
  0x10de-0x0300* | 0x10de-0x0302* | 0x1002-0x0302* | 0x1002-0x0380* | *-0x1200* | 0x8086-0x0380*) aer_kind=gpu ;;
  *-0x0108*) aer_kind=nvme ;;
  0x15b3-0x02*) aer_kind=nic ;;
  *) continue ;;
  esac
  aer_kinds="$aer_kinds ${aer_dir##*/}=$aer_kind"
  aer_ways="$aer_ways $(cd -P "$aer_dir" && pwd -P)"
done

# Then the bridges on these ways.
for aer_dir in /sys/bus/pci/devices/*; do
  case "$aer_ways " in
  *"/${aer_dir##*/}/"*) [ -e "$aer_dir/aer_dev_correctable" ] && aer_kinds="$aer_kinds ${aer_dir##*/}=bridge" ;;
  esac
done

nd_cmd ls -d /sys/bus/pci/devices
nd_text devices "$aer_kinds"
aer_files=
for aer_device in $aer_kinds; do
  aer_dir=/sys/bus/pci/devices/${aer_device%=*}
  aer_files="$aer_files $aer_dir/aer_dev_correctable $aer_dir/aer_dev_nonfatal $aer_dir/aer_dev_fatal"
done
if [ -n "$aer_files" ]; then
  nd_file /proc/uptime
  # shellcheck disable=SC2086 # a list of paths without blanks
  nd_cmd_as 'aer 1' grep -H TOTAL_ERR $aer_files
  nd_pause
  # shellcheck disable=SC2086
  nd_cmd_as 'aer 2' grep -H TOTAL_ERR $aer_files
  nd_cmd_as 'uptime 2' cat /proc/uptime
fi
