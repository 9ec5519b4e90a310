# source: filesystems
# about: local file systems with their space, inodes and whether the kernel turned them read-only
# by_hand: findmnt --real; df -h; df -i
# timeout: 10
# lane: slow
# root: no
# Only disks of this machine are asked, and none that is mounted below something remote: a dead server blocks whoever
# asks for a path on it. Of several mounts of one file system the shortest path stands for all.
fs_table() {
    awk '
    {
        for (i = 7; i < NF && $i != "-"; i++);
        type = $(i + 1); point = $5
        if (type ~ /^(nfs|cifs|smb|lustre|gpfs|mmfs|fuse|ceph|beegfs|weka|9p|virtiofs|autofs|afs|gluster|pan|gfs2|ocfs2|pvfs|orangefs|dvs)/) {
            remote[++nremote] = point
            next
        }
        own = type ~ /^(ext[234]|xfs|btrfs|f2fs|zfs|bcachefs|jfs|reiserfs|vfat)$/ ||
            (type == "overlay" && point == "/") || (type == "tmpfs" && point ~ /^(\/var)?\/tmp$/)
        if (!own || point ~ /^\/(proc|sys|dev|run|snap|var\/snap|var\/lib\/(docker|containers|containerd|kubelet|lxc))\//) next
        key = type == "btrfs" ? $(i + 2) : $3
        if (key in line && length(at[key]) <= length(point)) next
        if (!(key in line)) order[++n] = key
        line[key] = $0; at[key] = point
    }
    END {
        for (k = 1; k <= n; k++) {
            below = 0
            for (r = 1; r <= nremote; r++) if (index(at[order[k]] "/", remote[r] "/") == 1) below = 1
            if (!below) print line[order[k]]
        }
        print "nd_total " NR
    }' /proc/self/mountinfo
}
nd_cmd_as /proc/self/mountinfo fs_table
set --
for fs_point in $(fs_table 2>/dev/null | awk 'NF > 9 && $5 !~ /\\/ { print $5 }'); do set -- "$@" "$fs_point"; done
# "BLOCK-SIZE BLOCKS FREE AVAILABLE INODES FREE-INODES PATH", from statfs(2).
[ $# -eq 0 ] || nd_cmd_as statfs timeout -k 1 5 stat -f -c '%S %b %f %a %c %d %n' "$@"
