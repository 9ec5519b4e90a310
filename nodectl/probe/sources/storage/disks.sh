# source: disks
# about: disks, NVMe drives, paths of multipath devices, software RAID, as sysfs and /proc have them
# by_hand: lsblk -d -o NAME,MODEL,SIZE,SCHED; cat /proc/mdstat; grep . /sys/class/nvme/nvme*/state; multipath -ll
# timeout: 10
# lane: slow
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_file /proc/mdstat
set --
for di_dir in /sys/class/nvme/nvme*; do
    [ -e "$di_dir/transport" ] || continue
    for di_file in transport state model firmware_rev address numa_node; do
        [ -e "$di_dir/$di_file" ] && set -- "$@" "$di_dir/$di_file"
    done
    [ $# -gt 1500 ] && break
done
nd_text 'nvme drives' "$#"
[ $# -eq 0 ] || nd_grep "$@"
set --
di_paths=
for di_dir in /sys/block/*; do
    [ -d "$di_dir/queue" ] || continue
    di_name=${di_dir##*/}
    case $di_name in
    loop* | ram* | zram* | sr* | fd* | md* | nbd* | rbd* | drbd*) continue ;;
    dm-*)
        read -r di_uuid 2>/dev/null <"$di_dir/dm/uuid" || continue
        case $di_uuid in mpath-*) ;; *) continue ;; esac
        for di_slave in "$di_dir"/slaves/*; do
            [ -e "$di_slave" ] || continue
            di_paths="$di_paths$di_name ${di_slave##*/},"
        done
        set -- "$@" "$di_dir/dm/name"
        continue
        ;;
    esac
    for di_file in size removable queue/rotational queue/scheduler queue/read_ahead_kb device/model device/state; do
        [ -e "$di_dir/$di_file" ] && set -- "$@" "$di_dir/$di_file"
    done
    [ $# -gt 3000 ] && break
done
nd_text 'multipath paths' "$di_paths"
nd_text 'disk files' "$#"
[ $# -eq 0 ] || nd_grep "$@"
