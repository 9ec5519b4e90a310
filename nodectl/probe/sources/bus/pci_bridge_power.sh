# source: pci_bridge_power
# about: PCI bridges that the kernel may put to sleep when nothing below them is busy
# by_hand: grep . /sys/bus/pci/devices/*/power/control
# timeout: 5
# lane: fast
# root: no
nd_cmd ls -d /sys/bus/pci/devices
# "CONTROL STATUS" counted: "on" is always awake, "auto" may sleep. Only kernel memory is read, no device.
pb_counts() {
    for pb_dir in /sys/bus/pci/devices/*; do
        read -r pb_class 2>/dev/null <"$pb_dir/class" || continue
        case $pb_class in 0x0604*) ;; *) continue ;; esac
        read -r pb_control 2>/dev/null <"$pb_dir/power/control" || pb_control=unknown
        read -r pb_status 2>/dev/null <"$pb_dir/power/runtime_status" || pb_status=unknown
        echo "$pb_control $pb_status"
    done | sort | uniq -c
}
nd_cmd_as 'bridge power' pb_counts
