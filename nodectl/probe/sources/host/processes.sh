# source: processes
# about: zombies, processes that stay blocked, time daemons, and how many files and process ids are in use
# by_hand: ps -eo pid,stat,comm | grep -E ' [DZ]'; cat /proc/sys/fs/file-nr; cat /proc/loadavg
# timeout: 15
# lane: slow
# root: no
# sample: yes
[ -d /proc/self ] || nd_text 'not mounted' /proc
# A line a process that is blocked (D) or a zombie (Z): STATE PID PPID NAME; kernel threads are left out. The name may
# hold anything, so that the line is taken apart from its last bracket.
pr_states() {
    cat /proc/[0-9]*/stat 2>/dev/null | awk '
    {
        if (!match($0, /^[0-9]+ \(.*\) [A-Za-z] /)) next
        end = RLENGTH - 3
        start = index($0, " (")
        total++
        name = substr($0, start + 2, end - start - 2)
        split(substr($0, end + 2), rest, " ")
        if (name ~ /^(chronyd|ntpd|ntpd-rs|ntp-daemon|openntpd|systemd-timesyn|ptp4l|phc2sys|timemaster)$/) seen[name] = 1
        if (rest[2] == 2 || rest[2] == 0) next
        if (rest[1] == "Z") zombies++
        else if (rest[1] != "D") next
        if (++shown <= 200) print rest[1], substr($0, 1, start - 1), rest[2], name
    }
    END {
        for (name in seen) print "nd_daemon " name
        print "nd_zombies " zombies + 0
        print "nd_total " total + 0
    }'
}
pr_first=$(pr_states)
nd_text states "$pr_first"
# Waiting for a disk for a moment is normal: only who is blocked a second later, too, is worth a word.
pr_blocked=$(printf '%s\n' "$pr_first" | awk '$1 == "D" { print $2 }')
if [ -n "$pr_blocked" ]; then
    nd_pause
    set --
    for pr_pid in $pr_blocked; do set -- "$@" "/proc/$pr_pid/stat"; done
    pr_again() { cat "$@" 2>/dev/null | sed -n 's/^\([0-9]*\) .*) D .*/\1/p'; echo nd_end; }
    nd_cmd_as 'still blocked' pr_again "$@"
fi
nd_grep /proc/sys/fs/file-nr /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max /proc/loadavg
