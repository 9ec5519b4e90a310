# source: nccl_env
# about: NCCL and CUDA settings that hold for every job: nccl.conf and the system's environment files
# by_hand: cat /etc/nccl.conf; grep -E "NCCL_|CUDA_" /etc/environment /etc/profile.d/*
# timeout: 10
# lane: fast
# root: no
# Of other variables neither name nor value is sent. Lines: KIND<tab>FILE<tab>LINE<tab>NAME<tab>VALUE.
# NCCL takes a line of nccl.conf as it stands: an "export" or a blank beside the "=" becomes part of a name that it
# does not know.
ne_conf() {
    awk '/^#/ || /^[ \t\r]*$/ { next }
    {
        at = index($0, "=")
        name = at ? substr($0, 1, at - 1) : ""
        bare = name
        sub(/^[ \t]+/, "", bare); sub(/^export[ \t]+/, "", bare); sub(/[ \t]+$/, "", bare)
        if (!at) kind = "nothing"
        else if (bare !~ /^(NCCL|CUDA)_[A-Z0-9_]+$/) next
        else kind = (bare == name) ? "set" : "ignored"
        printf "%s\t%s\t%d\t%s\t%s\n", kind, FILENAME, FNR, bare, at ? substr($0, at + 1) : ""
    }' "$1"
}
# Shell and PAM files: only the value itself, not what else stands on the line.
ne_env() {
    awk -v dq='"' -v sq="'" '/^[ \t]*#/ { next }
    match($0, /(^|[ \t;])(NCCL|CUDA)_[A-Z0-9_]+=/) {
        word = substr($0, RSTART, RLENGTH - 1)
        sub(/^[ \t;]/, "", word)
        value = substr($0, RSTART + RLENGTH)
        first = substr(value, 1, 1)
        if (first == dq || first == sq) {
            value = substr(value, 2)
            end = index(value, first)
            value = end ? substr(value, 1, end - 1) : ""
        } else sub(/[ \t;&|<>#)].*$/, "", value)
        printf "set\t%s\t%d\t%s\t%s\n", FILENAME, FNR, word, value
    }' "$@"
}
if [ -e /etc/nccl.conf ]; then nd_cmd_as /etc/nccl.conf ne_conf /etc/nccl.conf; fi
set --
for ne_file in /etc/environment /etc/environment.d/*.conf /etc/profile /etc/profile.d/*.sh /etc/bash.bashrc /etc/bashrc; do
    if [ -f "$ne_file" ] && [ -r "$ne_file" ]; then set -- "$@" "$ne_file"; fi
done
[ $# -eq 0 ] || nd_cmd_as 'environment files' ne_env "$@"
nd_text looked yes
# What settings may name.
ne_names() {
    for ne_path in "$1"/*; do
        [ -e "$ne_path" ] && printf '%s\n' "${ne_path##*/}"
    done
    return 0
}
nd_cmd_as interfaces ne_names /sys/class/net
nd_cmd_as 'RDMA devices' ne_names /sys/class/infiniband
