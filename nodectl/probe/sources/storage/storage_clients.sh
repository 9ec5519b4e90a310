# source: storage_clients
# about: clients of parallel file systems: kernel modules and services of GPFS, Weka, BeeGFS, Lustre, Ceph
# by_hand: lsmod | grep -E "lustre|mmfs26|wekafs|beegfs|ceph"; systemctl status gpfs weka-agent beegfs-client beegfs-helperd
# timeout: 10
# lane: slow
# root: no
[ -d /proc/self ] || nd_text 'not mounted' /proc
[ -d /sys/module ] || nd_text 'not mounted' /sys
sl_loaded() {
    awk '$1 ~ /^(lustre|mmfs26|wekafsio|wekafsgw|beegfs|ceph|rpcrdma|nvidia_fs)$/ { print $1 }
    END { print "nd_total " NR }' /proc/modules
}
nd_cmd_as /proc/modules sl_loaded
set --
for sl_name in lustre mmfs26 wekafsio beegfs ceph nvidia_fs; do
    [ -e "/sys/module/$sl_name/version" ] && set -- "$@" "/sys/module/$sl_name/version"
done
[ $# -eq 0 ] || nd_grep "$@"
# Asked only where one of them has put something: systemctl is the dear part.
for sl_place in /usr/lpp/mmfs /opt/weka /etc/beegfs /opt/beegfs; do
    [ -d "$sl_place" ] || continue
    nd_text "folder $sl_place" yes
    sl_units=yes
done
[ -z "${sl_units:-}" ] || nd_cmd_as 'systemctl show' systemctl show --no-pager -p Id -p Names -p LoadState \
    -p ActiveState -p UnitFileState gpfs.service weka-agent.service beegfs-client.service beegfs-helperd.service
