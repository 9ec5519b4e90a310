# source: sysctl_files
# about: which files and which TuneD profile set kernel settings, and what these settings are now
# by_hand: systemd-analyze cat-config sysctl.d; cat /etc/tuned/active_profile; sysctl -a
# timeout: 10
# lane: fast
# root: no
[ -e /proc/sys/kernel/osrelease ] || nd_text 'not mounted' /proc
set --
for sf_dir in /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /lib/sysctl.d; do
    # /lib is mostly the same folder as /usr/lib.
    [ "$sf_dir" = /lib/sysctl.d ] && [ -L /lib ] && continue
    for sf_file in "$sf_dir"/*.conf; do
        # A link to /dev/null is a file, too: it takes the place of the one that it is named like.
        [ -e "$sf_file" ] && set -- "$@" "$sf_file"
    done
done
sf_list() { for sf_file; do echo "$sf_file"; done; }
nd_cmd_as 'sysctl files' sf_list "$@"
sf_lines() { [ $# -eq 0 ] || grep -aH '^[[:space:]]*[^#;[:space:]]' -- "$@"; }
nd_run grep files sf_lines "$@"
# The settings that are named there, as paths. A name with a wildcard stands for many and is left out.
sf_paths() {
    [ $# -eq 0 ] || awk '/^[ \t]*[^#; \t]/ {
        key = $0
        if (!sub(/[ \t]*=.*/, "", key)) next
        sub(/^[ \t]*-?[ \t]*/, "", key)
        if (key !~ /^[A-Za-z0-9_.\/:@+-]+$/ || key ~ /\.\.|^\//) next
        first = match(key, /[.\/]/) ? substr(key, RSTART, 1) : "."
        if (first == ".") { gsub(/\//, "\001", key); gsub(/\./, "/", key); gsub(/\001/, ".", key) }
        if (!seen[key]++) print "/proc/sys/" key
    }' "$@"
}
sf_seen=
for sf_path in $(sf_paths "$@" 2>/dev/null); do
    [ -f "$sf_path" ] && sf_seen="$sf_seen $sf_path"
done
# shellcheck disable=SC2086 # a list of paths without blanks
[ -z "$sf_seen" ] || nd_grep $sf_seen
# A profile may include another; the folders are in the order in which TuneD looks through them.
nd_file /etc/tuned/active_profile
read -r sf_todo 2>/dev/null </etc/tuned/active_profile || sf_todo=
sf_n=0
while [ -n "$sf_todo" ] && [ "$sf_n" -lt 12 ]; do
    sf_n=$((sf_n + 1))
    sf_name=${sf_todo%%[ ,]*}
    case $sf_todo in *[\ ,]*) sf_todo=${sf_todo#*[ ,]} ;; *) sf_todo= ;; esac
    case $sf_name in '' | *[!A-Za-z0-9_.+-]*) continue ;; esac
    for sf_dir in /etc/tuned/profiles /etc/tuned /usr/lib/tuned/profiles /usr/lib/tuned; do
        [ -f "$sf_dir/$sf_name/tuned.conf" ] || continue
        nd_file "$sf_dir/$sf_name/tuned.conf"
        sf_more=$(sed -n 's/^[[:space:]]*include[[:space:]]*=[[:space:]]*//p' "$sf_dir/$sf_name/tuned.conf" | tr '\n' ' ')
        sf_todo="$sf_todo $sf_more"
        sf_todo=${sf_todo# }
        break
    done
done
sf_reapply() { grep -aE '^[[:space:]]*reapply_sysctl[[:space:]]*=' /etc/tuned/tuned-main.conf; }
[ "$sf_n" -eq 0 ] || nd_cmd_as reapply_sysctl sf_reapply
