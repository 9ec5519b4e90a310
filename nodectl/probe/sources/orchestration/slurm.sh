# source: slurm
# about: the Slurm node: version, what its files say of GPUs, limits and programs, and its state by the controller
# by_hand: slurmd -V; scontrol show node $(hostname -s); cat /etc/slurm/slurm.conf /etc/slurm/gres.conf
# timeout: 25
# lane: slow
# root: helps
# slurm.conf may hold passwords of databases: only the keys that are named here leave the node.
PATH=$PATH:/opt/slurm/bin:/opt/slurm/sbin:/usr/local/slurm/bin:/usr/local/slurm/sbin:/usr/local/sbin
sl_found=
for sl_name in slurmd scontrol; do nd_have "$sl_name" && sl_found="$sl_found $sl_name"; done
sl_conf=
sl_pid=$(pidof slurmd 2>/dev/null | tr ' ' '\n' | tail -n 1)
sl_node=
if [ -n "$sl_pid" ] && [ -r "/proc/$sl_pid/cmdline" ]; then
    sl_opt=
    # shellcheck disable=SC2013 # options hold no spaces
    for sl_word in $(tr '\0' '\n' <"/proc/$sl_pid/cmdline"); do
        case $sl_opt in -f) sl_conf=$sl_word ;; -N) sl_node=$sl_word ;; esac
        sl_opt=$sl_word
    done
fi
for sl_file in "$sl_conf" /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf /opt/slurm/etc/slurm.conf \
    /usr/local/etc/slurm.conf /run/slurm/conf/slurm.conf /var/spool/slurmd/conf-cache/slurm.conf \
    /var/spool/slurm/d/conf-cache/slurm.conf; do
    sl_conf=$sl_file
    [ -n "$sl_file" ] && [ -e "$sl_file" ] && break
    sl_conf=
done
nd_text found "${sl_found# }"
[ -n "$sl_found$sl_conf" ] || exit 0
[ -n "$sl_node" ] || read -r sl_node </proc/sys/kernel/hostname
nd_text node "${sl_node%%.*}"
if [ -n "$sl_pid" ]; then nd_text running yes; elif nd_have pidof; then nd_text running no; fi
sl_dir=${sl_conf%/*}

sl_root() {
    sl_asroot=
    for sl_file; do [ -r "$sl_file" ] || sl_asroot=$ND_SUDO; done
}
# The files that a file includes, one level deep.
sl_includes() {
    # shellcheck disable=SC2013
    for sl_word in $(sed -n 's/^[ \t]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][ \t]\{1,\}//p' "$1" 2>/dev/null | head -n 50); do
        case $sl_word in /*) ;; *) sl_word=$sl_dir/$sl_word ;; esac
        for sl_file in $sl_word; do [ -r "$sl_file" ] && printf '%s\n' "$sl_file"; done
    done
}
# Lines that end with \ go on in the next. Comments go. KEY<tab>VALUE for what is wanted, NodeName lines as they are.
# shellcheck disable=SC2016 # a program for awk
sl_lines='
{
    line = $0
    sub(/\r$/, "", line)
    gsub(/(^|[^\\])#.*/, "", line)
    whole = whole line
    if (whole ~ /\\$/ && length(whole) < 20000) { sub(/\\$/, " ", whole); next }
    line = whole
    whole = ""
    sub(/^[ \t]+/, "", line)
    low = tolower(line)
    if (low ~ lines) { if (++n <= 400) print "line\t" line; next }
    eq = index(line, "=")
    if (!eq) next
    key = tolower(substr(line, 1, eq - 1))
    gsub(/[ \t]/, "", key)
    if (key !~ want) next
    val = substr(line, eq + 1)
    gsub(/^[ \t"]+|[ \t"]+$/, "", val)
    print key "\t" val
}
END { print "nd_complete" }'
# NAME WANTED-KEYS WANTED-LINES FILE...
sl_take() {
    sl_name=$1 sl_want=$2 sl_whole=$3
    shift 3
    sl_root "$@"
    # shellcheck disable=SC2086 # $ND_SUDO is nothing, or words
    nd_cmd_as "$sl_name" $sl_asroot awk -v want="$sl_want" -v lines="$sl_whole" "$sl_lines" "$@"
}
sl_keys='^(taskplugin|proctracktype|grestypes|prolog|epilog|taskprolog|taskepilog|healthcheckprogram|healthcheckinterval|rebootprogram|propagateresourcelimits|propagateresourcelimitsexcept|plugstackconfig|authtype|selecttype|returntoservice|prologflags|clustername)$'
if [ -n "$sl_conf" ]; then
    nd_text slurm.conf "$sl_conf"
    # shellcheck disable=SC2046 # paths without spaces
    sl_take settings "$sl_keys" '^nodename[ \t]*=(default|.*gres[ \t]*=)' "$sl_conf" $(sl_includes "$sl_conf")
    if [ -e "$sl_dir/gres.conf" ]; then
        # shellcheck disable=SC2046
        sl_take gres.conf '^autodetect$' '^(nodename|name)[ \t]*=' "$sl_dir/gres.conf" $(sl_includes "$sl_dir/gres.conf")
    fi
    [ -e "$sl_dir/cgroup.conf" ] && sl_take cgroup.conf '^constrain[a-z]+$|^cgroupplugin$' '^=$' "$sl_dir/cgroup.conf"
fi

# Is there, and can be run: by the bits of the file, since it is root that runs it. Slow file systems have 3 seconds.
# shellcheck disable=SC2016 # this is a program for another shell
sl_look='
state() {
    if [ -e "$1" ]; then
        case $(ls -ldL "$1") in -??[xs]*) echo exec ;; *) echo noexec ;; esac
        return
    fi
    up=$1
    while [ ! -e "$up" ] && [ -n "$up" ]; do up=${up%/*}; done
    if [ -x "${up:-/}" ]; then echo missing; else echo hidden; fi
}
while IFS="	" read -r key val; do
    for pattern in $(echo "$val" | tr "," " "); do
        case $pattern in /*) ;; *) continue ;; esac
        for file in $pattern; do printf "%s\t%s\t%s\n" "$(state "$file")" "$key" "$file"; done
    done
done
echo nd_complete'
sl_programs() {
    awk -F= '/^[ \t]*([Pp]rolog|[Ee]pilog|[Tt]ask[Pp]rolog|[Tt]ask[Ee]pilog|[Hh]ealth[Cc]heck[Pp]rogram|[Rr]eboot[Pp]rogram)[ \t]*=/ {
        gsub(/[ \t"]/, "", $1)
        sub(/#.*/, "", $2)
        gsub(/[ \t"\r]/, "", $2)
        print $1 "\t" $2
    }' "$@" | timeout -k 1 3 sh -c "$sl_look"
}
sl_plugins() {
    awk '/^[ \t]*(required|optional)[ \t]/ { print $1 "\t" $2 }' "$@" | timeout -k 1 3 sh -c "$sl_look"
}
if [ -n "$sl_conf" ] && [ -r "$sl_conf" ]; then
    # shellcheck disable=SC2046
    nd_cmd_as programs sl_programs "$sl_conf" $(sl_includes "$sl_conf")
    sl_stack=$(sed -n 's/^[ \t]*[Pp]lug[Ss]tack[Cc]onfig[ \t]*=[ \t]*//p' "$sl_conf" | tail -n 1)
    sl_stack=${sl_stack:-$sl_dir/plugstack.conf}
    if [ -r "$sl_stack" ]; then
        # shellcheck disable=SC2046
        nd_cmd_as plugins sl_plugins "$sl_stack" $(sl_includes "$sl_stack")
    elif [ -e "$sl_stack" ]; then
        nd_cmd_as plugins nd_no_root "$sl_stack"
    fi
fi
nd_have slurmd && nd_cmd_as 'slurmd -V' timeout -k 1 4 slurmd -V
if nd_have scontrol; then
    nd_cmd_as 'scontrol show node' timeout -k 1 8 scontrol -d show node "${sl_node%%.*}"
fi
:
