# source: nvidia_smi_q
# about: all that nvidia-smi knows about every GPU, as XML
# by_hand: nvidia-smi -q
# timeout: 45
# lane: slow
# root: no

# The lists of supported clocks and of past processes are left out on the node: they are most of the answer and nobody
# reads them. Of a process only the base name stays. The exit code of nvidia-smi goes through the pipe as the last line.
smi_filter() {
  awk '
    BEGIN { rc = 1 }
    /^nd_rc [0-9]+$/ { rc = $2; next }
    /<supported_clocks>|<accounted_processes>/ { skip = 1 }
    skip { if (/<\/supported_clocks>|<\/accounted_processes>/) skip = 0; next }
    /<process_name>/ {
      head = $0; sub(/<process_name>.*/, "<process_name>", head)
      name = $0; sub(/.*<process_name>/, "", name); sub(/<\/process_name>.*/, "", name)
      if (name !~ /^\[/) { sub(/[ \t].*/, "", name); sub(/.*\//, "", name); gsub(/[&<>]/, "_", name) }
      print head name "</process_name>"
      next
    }
    { print }
    END { exit rc }'
}

smi_query() {
  {
    timeout -k 1 40 nvidia-smi -q -x
    printf '\nnd_rc %s\n' "$?"
  } | smi_filter
}

# Where nvidia-smi gives no answer: is there anything that it could have told of? A GPU on the PCI bus, one that the driver
# remembers, or one that is on no PCI bus (WSL, Tegra). Empty: no.
smi_devices() {
  [ -d /sys/bus/pci/devices ] || echo 'the PCI bus cannot be looked at'
  for pci_dir in /sys/bus/pci/devices/*; do
    read -r pci_vendor 2>/dev/null <"$pci_dir/vendor" || continue
    [ "$pci_vendor" = 0x10de ] || continue
    read -r pci_class 2>/dev/null <"$pci_dir/class" || continue
    case $pci_class in 0x03*) echo "${pci_dir##*/}" ;; esac
  done
  for smi_path in /proc/driver/nvidia/gpus/* /dev/nvidia[0-9]* /dev/dxg /dev/nvhost-gpu /dev/nvgpu; do
    [ -e "$smi_path" ] && echo "$smi_path"
  done
  return 0
}

if nd_have awk; then
  nd_cmd_as 'nvidia-smi -q -x' smi_query || nd_text 'NVIDIA devices' "$(smi_devices)"
else
  nd_cmd_as 'nvidia-smi -q -x' timeout -k 1 40 nvidia-smi -q -x || nd_text 'NVIDIA devices' "$(smi_devices)"
fi
