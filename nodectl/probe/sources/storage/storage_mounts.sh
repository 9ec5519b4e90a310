# source: storage_mounts
# about: mounted file systems that hold data, as the kernel lists them; no mount point is touched
# by_hand: cat /proc/self/mountinfo
# timeout: 5
# lane: fast
# root: no
# A dead server hangs whoever touches its mount: the kernel's own table is read and nothing else. A node that runs pods
# has thousands of mounts, so those of the kernel itself and of containers stay there.
[ -d /proc/self ] || nd_text 'not mounted' /proc
sm_table() {
    awk '{
        for (i = 7; i < NF && $i != "-"; i++);
        type = $(i + 1)
        if (type ~ /^(proc|sysfs|cgroup2?|devpts|devtmpfs|mqueue|hugetlbfs|debugfs|tracefs|securityfs|pstore)$/) next
        if (type ~ /^(bpf|configfs|fusectl|nsfs|ramfs|squashfs|efivarfs|binfmt_misc|rpc_pipefs|nfsd|selinuxfs)$/) next
        if (type ~ /^fuse\.(lxcfs|portal|gvfsd-fuse|snapfuse)$/ || $5 ~ /^\/(proc|sys|dev)\/./ || $5 ~ /^\/snap\//) next
        if ($5 ~ /^\/var\/lib\/(docker|containerd|containers|kubelet|rancher|lxd|lxcfs|incus)\//) next
        if ($5 ~ /^\/run\/(containerd|docker|netns|k3s|credentials|user|lock|snapd|systemd|rpc_pipefs)(\/|$)/) next
        if (++kept <= 300) print
    }
    END { print "nd_total " NR " " kept + 0 }' /proc/self/mountinfo
}
nd_cmd_as /proc/self/mountinfo sm_table
