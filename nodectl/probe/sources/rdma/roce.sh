# source: roce
# about: RoCE: priority flow control, trust, ECN, traffic class, GIDs, pause, bonds and LLDP of RDMA interfaces
# by_hand: mlnx_qos -i IF (or dcb pfc show dev IF); cat /sys/class/net/IF/ecn/*/enable/*; show_gids; lldpctl
# timeout: 30
# lane: slow
# root: helps

[ -d /sys/class ] || nd_text 'not mounted' /sys
ro_ports='' ro_files='' ro_gids='' ro_bonds='' ro_nets='' ro_count=0
for ro_port in /sys/class/infiniband/*/ports/*; do
    read -r ro_layer 2>/dev/null <"$ro_port/link_layer" || continue
    [ "$ro_layer" = Ethernet ] || continue
    ro_dir=${ro_port%/ports/*}
    ro_name=${ro_dir##*/}
    ro_number=${ro_port##*/}
    case $ro_name in *[!A-Za-z0-9_.-]*) continue ;; esac
    [ -e "$ro_dir/device" ] || continue
    [ -e "$ro_dir/device/physfn" ] && continue
    ro_count=$((ro_count + 1))
    [ "$ro_count" -gt 40 ] && nd_text 'left out' yes && break
    ro_ports="$ro_ports $ro_name/$ro_number"
    ro_gids="$ro_gids $ro_port/gids/*"
    for ro_file in state rate; do
        [ -e "$ro_port/$ro_file" ] && ro_files="$ro_files $ro_port/$ro_file"
    done
    [ -e "$ro_dir/board_id" ] && ro_files="$ro_files $ro_dir/board_id"
    for ro_file in "$ro_dir/tc/$ro_number/traffic_class" \
        /sys/kernel/config/rdma_cm/"$ro_name"/ports/"$ro_number"/default_roce_mode \
        /sys/kernel/config/rdma_cm/"$ro_name"/ports/"$ro_number"/default_roce_tos; do
        [ -r "$ro_file" ] && ro_files="$ro_files $ro_file"
    done
    for ro_net in "$ro_dir"/device/net/*; do
        [ -e "$ro_net/flags" ] || continue
        ro_if=${ro_net##*/}
        case $ro_if in *[!A-Za-z0-9_.@-]*) continue ;; esac
        # Not those that stand for other functions, and not those of the adapter's other port.
        ro_line=''
        read -r ro_line 2>/dev/null <"$ro_net/phys_port_name"
        case $ro_line in *pf[0-9]*vf* | *pf[0-9]*sf* | *pf[0-9]*hpf*) continue ;; esac
        ro_line=0
        read -r ro_line 2>/dev/null <"$ro_net/dev_port"
        [ "$((ro_line + 1))" = "$ro_number" ] || continue
        nd_text interface "$ro_name/$ro_number $ro_if"
        ro_nets="$ro_nets $ro_if"
        ro_files="$ro_files $ro_net/mtu"
        for ro_file in "$ro_net"/ecn/roce_np/enable/* "$ro_net"/ecn/roce_rp/enable/* "$ro_net"/ecn/roce_np/cnp_dscp \
            "$ro_net"/ecn/roce_np/cnp_802p_prio; do
            [ -r "$ro_file" ] && ro_files="$ro_files $ro_file"
        done
        [ -e "$ro_net/master" ] || continue
        ro_line=$(readlink "$ro_net/master")
        ro_line=${ro_line##*/}
        nd_text 'bond of' "$ro_if $ro_line"
        case " $ro_bonds " in *" $ro_line "*) ;; *) ro_bonds="$ro_bonds $ro_line" ;; esac
    done
done
nd_cmd ls -d /sys/class
nd_text ports "$ro_ports"
if [ -n "$ro_ports" ]; then
    for ro_bond in $ro_bonds; do
        for ro_file in mode xmit_hash_policy slaves mii_status; do
            [ -e "/sys/class/net/$ro_bond/bonding/$ro_file" ] && ro_files="$ro_files /sys/class/net/$ro_bond/bonding/$ro_file"
        done
        for ro_file in /sys/class/net/"$ro_bond"/lower_*/bonding_slave/mii_status; do
            [ -e "$ro_file" ] && ro_files="$ro_files $ro_file"
        done
    done
    # shellcheck disable=SC2086 # lists of paths without blanks
    nd_grep $ro_files
    # The table has hundreds of places: of the empty ones nothing is told.
    # shellcheck disable=SC2086
    ro_filled=$(grep -Lx '0000:0000:0000:0000:0000:0000:0000:0000' $ro_gids 2>/dev/null | head -n 400)
    set --
    for ro_file in $ro_filled; do
        set -- "$@" "$ro_file" "${ro_file%/gids/*}/gid_attrs/types/${ro_file##*/}"
    done
    [ $# -eq 0 ] || nd_cmd_as gids grep -aH '' "$@"
    for ro_if in $ro_nets; do
        if nd_have mlnx_qos && nd_cmd timeout -k 1 5 mlnx_qos -i "$ro_if"; then
            :
        elif nd_have dcb; then
            nd_cmd timeout -k 1 3 dcb pfc show dev "$ro_if"
            nd_cmd timeout -k 1 3 dcb app show dev "$ro_if"
        fi
        nd_have ethtool && nd_cmd timeout -k 1 3 ethtool -a "$ro_if"
    done
    nd_have lldpctl && nd_cmd_as 'lldpctl -f json' $ND_SUDO timeout -k 1 5 lldpctl -f json
fi
:
