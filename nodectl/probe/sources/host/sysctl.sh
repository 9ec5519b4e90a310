# source: sysctl
# about: the kernel settings that checks name, as in sysctl -n
# by_hand: sysctl {key}
# timeout: 10
# lane: fast
# root: no
# args: sysctl
# A key is a path below /proc/sys with . for /. As in sysctl(8) a dot inside one part is written / (so that
# net.ipv4.conf.eth0/100.arp_ignore means conf/eth0.100), and a key whose first separator is / is the path itself.
sc_path() {
    sc_rest=$1 sc_out=
    case ${1%%.*} in */*) sc_out=$1; return ;; esac
    while :; do
        case $sc_rest in
        *[./]*)
            sc_head=${sc_rest%%[./]*}
            sc_rest=${sc_rest#"$sc_head"}
            case $sc_rest in .*) sc_out=$sc_out$sc_head/ ;; *) sc_out=$sc_out$sc_head. ;; esac
            sc_rest=${sc_rest#?}
            ;;
        *)
            sc_out=$sc_out$sc_rest
            return
            ;;
        esac
    done
}
[ -e /proc/sys/kernel/osrelease ] || nd_text 'not mounted' /proc
sc_n=$# sc_seen=' '
for sc_key; do
    sc_path "$sc_key"
    # Two keys may mean one file, and its lines must not come twice.
    case $sc_seen in *" $sc_out "*) continue ;; esac
    sc_seen=$sc_seen$sc_out' '
    set -- "$@" "/proc/sys/$sc_out"
done
shift "$sc_n"
# Twenty at a time: a section keeps a limited number of messages, and each missing key takes one.
while [ $# -gt 20 ]; do
    nd_grep "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" "${10}" \
        "${11}" "${12}" "${13}" "${14}" "${15}" "${16}" "${17}" "${18}" "${19}" "${20}"
    shift 20
done
[ $# -eq 0 ] || nd_grep "$@"
