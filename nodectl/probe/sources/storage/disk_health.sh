# source: disk_health
# about: what disks say of their own health (SMART), by smartctl or nvme
# by_hand: smartctl -H -A /dev/nvme0; nvme smart-log /dev/nvme0
# timeout: 40
# lane: slow
# root: needed
# A log page is read from each disk; nothing is tested or set. A disk that sleeps is left asleep.
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
if nd_have smartctl; then
    dh_tool=smartctl
elif nd_have nvme; then
    dh_tool=nvme
else
    dh_tool=
fi
nd_text tool "$dh_tool"
dh_n=0
for dh_dir in /sys/class/nvme/nvme* /sys/block/sd*; do
    [ -e "$dh_dir" ] || continue
    dh_name=${dh_dir##*/}
    case $dh_dir in
    */nvme*)
        # A drive of another machine (over fabrics) is looked after there.
        read -r dh_transport 2>/dev/null <"$dh_dir/transport" || continue
        [ "$dh_transport" = pcie ] || continue
        ;;
    *)
        read -r dh_removable 2>/dev/null <"$dh_dir/removable" || continue
        [ "$dh_removable" = 0 ] || continue
        # An empty slot, or a disk that the management controller only pretends to have.
        read -r dh_size 2>/dev/null <"$dh_dir/size" || continue
        [ "$dh_size" = 0 ] && continue
        ;;
    esac
    dh_n=$((dh_n + 1))
    [ "$dh_n" -gt 64 ] && break
    nd_text "disk $dh_name" "${dh_dir%/*}"
    case $dh_tool-$dh_name in
    smartctl-*) nd_cmd_as "smartctl $dh_name" $ND_SUDO timeout -k 1 5 smartctl -j -H -A -n standby "/dev/$dh_name" ;;
    nvme-nvme*) nd_cmd_as "nvme smart-log $dh_name" $ND_SUDO timeout -k 1 5 nvme smart-log -o json "/dev/$dh_name" ;;
    esac
done
