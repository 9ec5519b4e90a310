# source: mounts
# about: what is mounted at the paths that checks name, and how full it is
# by_hand: findmnt {key}; df -h {key}
# timeout: 20
# lane: slow
# root: no
# args: mount
# df waits for a dead NFS server. So it is asked only for paths that are mount points, each with a limit of its own.
mt_table() {
    awk 'BEGIN { for (i = 2; i < ARGC; i++) { want[ARGV[i]] = 1; ARGV[i] = "" } }
    $5 in want
    END { print "nd_total " NR }' /proc/self/mountinfo "$@"
}
mt_points=$(mt_table "$@" 2>/dev/null | awk '{ print $5 }')
nd_cmd_as /proc/self/mountinfo mt_table "$@"
for mt_path; do
    case "
$mt_points
" in *"
$mt_path
"*) nd_cmd_as "df $mt_path" timeout -k 1 3 df -P -k "$mt_path" ;; esac
done
