# source: pcie_aer
# about: PCIe error counters (AER) of GPUs, NICs and the bridges above them, read twice
# timeout: 30
# lane: slow
# root: no
# sample: yes

aer_files=
aer_kinds=
for aer_dir in /sys/bus/pci/devices/*; do
  [ -e "$aer_dir/aer_dev_correctable" ] || continue
  read -r aer_vendor 2>/dev/null <"$aer_dir/vendor" || continue
  read -r aer_class 2>/dev/null <"$aer_dir/class" || continue
  case $aer_vendor-$aer_class in
  0x10de-0x03*) aer_kind=gpu ;;
  0x15b3-0x02*) aer_kind=nic ;;
  *-0x0604*) aer_kind=bridge ;;
  *) continue ;;
  esac
  aer_files="$aer_files $aer_dir/aer_dev_correctable $aer_dir/aer_dev_nonfatal $aer_dir/aer_dev_fatal"
  aer_kinds="$aer_kinds ${aer_dir##*/}=$aer_kind"
done

nd_cmd ls -d /sys/bus/pci/devices
nd_text devices "$aer_kinds"
if [ -n "$aer_files" ]; then
  nd_file /proc/uptime
  # shellcheck disable=SC2086 # a list of paths without blanks
  nd_cmd_as 'aer 1' grep -H TOTAL_ERR $aer_files
  nd_pause
  # shellcheck disable=SC2086
  nd_cmd_as 'aer 2' grep -H TOTAL_ERR $aer_files
  nd_cmd_as 'uptime 2' cat /proc/uptime
fi
