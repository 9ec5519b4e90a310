# source: modules
# about: which kernel modules are loaded, built in, and on disk for the running kernel
# by_hand: lsmod; modinfo {key}
# timeout: 15
# lane: slow
# root: no
# args: module
# Decompressing a large module for modinfo takes a while: hence a lane of its own.
[ -d /proc/self ] || nd_text 'not mounted' /proc
[ -d /sys/module ] || nd_text 'not mounted' /sys
mo_dir=/lib/modules/$(uname -r)
[ -d "$mo_dir" ] || nd_text 'no modules folder' "$mo_dir"
mo_loaded() {
    awk 'BEGIN {
        for (i = 2; i < ARGC; i++) { gsub(/-/, "_", ARGV[i]); want[ARGV[i]] = 1; ARGV[i] = "" }
    }
    $1 in want
    END { print "nd_total " NR }' /proc/modules "$@"
}
nd_cmd_as /proc/modules mo_loaded "$@"
mo_info() {
    { modinfo "$1"; echo "nd_rc $?"; } | grep -aE '^(nd_rc|filename:|version:|license:|srcversion:|vermagic:|signer:)'
}
for mo_name; do
    mo_under=$mo_name
    while :; do
        case $mo_under in *-*) mo_under=${mo_under%%-*}_${mo_under#*-} ;; *) break ;; esac
    done
    mo_dir=/sys/module/$mo_under
    if [ -d "$mo_dir" ]; then
        nd_text "$mo_dir" yes
        set --
        for mo_file in version srcversion initstate; do
            [ -e "$mo_dir/$mo_file" ] && set -- "$@" "$mo_dir/$mo_file"
        done
        [ $# -eq 0 ] || nd_grep "$@"
    fi
    nd_cmd_as "modinfo $mo_name" mo_info "$mo_name"
done
