# source: gpu_pci
# about: GPUs and accelerators, NVSwitches and Mellanox NICs on the PCI bus, as sysfs has them, with or without a driver
# by_hand: lspci -nnk -d 10de:; cat /sys/bus/pci/devices/ADDRESS/{current,max}_link_{speed,width}
# timeout: 15
# lane: slow
# root: no

# Vendor and class come from the kernel's memory. The link files below read the device itself, which may hang on a
# dead one; only devices that matter are asked: GPUs, NVSwitches, Mellanox NICs, and accelerators of the other vendors.
# Instinct up to MI200 and Intel's Data Center GPUs are told from graphics by their ids.
pci_found=
pci_virtual=
for pci_dir in /sys/bus/pci/devices/*; do
  read -r pci_vendor 2>/dev/null <"$pci_dir/vendor" || continue
  case $pci_vendor in 0x10de | 0x15b3 | 0x1002 | 0x1da3 | 0x8086) ;; *) continue ;; esac
  read -r pci_class 2>/dev/null <"$pci_dir/class" || continue
  case $pci_vendor-$pci_class in
  0x10de-0x0300* | 0x10de-0x0302* | 0x10de-0x0680* | 0x15b3-0x02* | 0x1002-0x12* | 0x1da3-0x12*) ;;
  0x1002-0x03* | 0x8086-0x03*)
    read -r pci_device 2>/dev/null <"$pci_dir/device" || continue
    case $pci_vendor-$pci_device in
    0x1002-0x738[8ce] | 0x1002-0x740[8cf] | 0x1002-0x7410) ;;
    0x8086-0x0bd[0-9ab] | 0x8086-0x0b69 | 0x8086-0x0b6e | 0x8086-0x56c[012]) ;;
    *) continue ;;
    esac
    ;;
  *) continue ;;
  esac
  pci_found="$pci_found $pci_dir/uevent $pci_dir/numa_node $pci_dir/current_link_speed $pci_dir/max_link_speed"
  pci_found="$pci_found $pci_dir/current_link_width $pci_dir/max_link_width $pci_dir/enable"
  [ -e "$pci_dir/physfn" ] && pci_virtual="$pci_virtual ${pci_dir##*/}"
done

nd_text vendors 'nvidia amd habana intel'
nd_cmd ls -d /sys/bus/pci/devices
nd_text 'virtual functions' "$pci_virtual"
# shellcheck disable=SC2086 # a list of paths without blanks
[ -z "$pci_found" ] || nd_grep $pci_found
