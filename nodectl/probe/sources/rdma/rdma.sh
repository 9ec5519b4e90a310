# source: rdma
# about: RDMA devices and their ports (InfiniBand, RoCE, EFA): state, speed, firmware, error counters read twice
# by_hand: grep . /sys/class/infiniband/*/ports/*/{state,phys_state,rate} /sys/class/infiniband/*/ports/*/counters/*
# timeout: 40
# lane: slow
# root: helps
# sample: yes

# Reading a state or a counter asks the adapter's firmware: a dead one answers late, or never.
[ -d /sys/class ] || nd_text 'not mounted' /sys
rd_files='' rd_counters='' rd_virtual='' rd_masters='' rd_vpd='' rd_names='' rd_odd=''
for rd_dir in /sys/class/infiniband/*; do
    [ -d "$rd_dir/ports" ] || continue
    rd_name=${rd_dir##*/}
    case $rd_name in *[!A-Za-z0-9_.-]*) rd_odd=yes && continue ;; esac
    rd_names="$rd_names $rd_name"
    for rd_file in fw_ver hca_type board_id node_type node_guid sys_image_guid node_desc device/uevent device/numa_node; do
        [ -e "$rd_dir/$rd_file" ] && rd_files="$rd_files $rd_dir/$rd_file"
    done
    [ -e "$rd_dir/device/physfn" ] && rd_virtual="$rd_virtual $rd_name"
    for rd_port in "$rd_dir"/ports/*; do
        for rd_file in state phys_state rate link_layer lid sm_lid; do
            [ -e "$rd_port/$rd_file" ] && rd_files="$rd_files $rd_port/$rd_file"
        done
        for rd_file in symbol_error link_error_recovery link_downed port_rcv_errors port_rcv_remote_physical_errors \
            port_xmit_discards local_link_integrity_errors excessive_buffer_overrun_errors VL15_dropped port_xmit_wait; do
            [ -e "$rd_port/counters/$rd_file" ] && rd_counters="$rd_counters $rd_port/counters/$rd_file"
        done
        for rd_file in out_of_sequence packet_seq_err local_ack_timeout_err rnr_nak_retry_err implied_nak_seq_err \
            roce_slow_restart roce_adp_retrans rx_icrc_encapsulated req_transport_retries_exceeded np_cnp_sent \
            np_ecn_marked_roce_packets rp_cnp_handled out_of_buffer; do
            [ -e "$rd_port/hw_counters/$rd_file" ] && rd_counters="$rd_counters $rd_port/hw_counters/$rd_file"
        done
    done
    for rd_net in "$rd_dir"/device/net/*; do
        [ -e "$rd_net/flags" ] || continue
        case ${rd_net##*/} in *[!A-Za-z0-9_.@-]*) continue ;; esac
        for rd_file in dev_port flags operstate mtu carrier_changes type mode; do
            [ -e "$rd_net/$rd_file" ] && rd_files="$rd_files $rd_net/$rd_file"
        done
        # These two cannot be read where they mean nothing.
        for rd_file in phys_port_name speed; do
            read -r rd_line 2>/dev/null <"$rd_net/$rd_file" && rd_files="$rd_files $rd_net/$rd_file"
        done
        [ -e "$rd_net/master" ] && rd_masters="$rd_masters ${rd_net##*/}=$(readlink "$rd_net/master")"
    done
    [ -e "$rd_dir/device/vpd" ] && rd_vpd="$rd_vpd $rd_dir/device/vpd"
done

nd_cmd ls -d /sys/class
nd_text devices "$rd_names"
[ -z "$rd_odd" ] || nd_text 'odd names' yes
if [ -n "$rd_names" ]; then
    nd_text 'virtual functions' "$rd_virtual"
    nd_text masters "$rd_masters"
    # shellcheck disable=SC2086 # lists of paths without blanks
    nd_grep $rd_files

    # HGX B200 and later: some adapters are the way to the NVSwitches, and say so in their vital product data.
    rd_blackwell=
    for rd_file in /sys/bus/pci/drivers/nvidia/*/device; do
        read -r rd_line 2>/dev/null <"$rd_file" || continue
        case $rd_line in 0x29* | 0x31* | 0x32*) rd_blackwell=yes ;; esac
    done
    # shellcheck disable=SC2086
    [ -z "$rd_blackwell" ] || [ -z "$rd_vpd" ] || nd_cmd_as 'NVSwitch bridges' $ND_SUDO grep -al SW_MNG $rd_vpd
fi
if [ -n "$rd_counters" ]; then
    nd_file /proc/uptime
    # shellcheck disable=SC2086
    nd_cmd_as 'counters 1' grep -aH '' $rd_counters
    nd_pause
    # shellcheck disable=SC2086
    nd_cmd_as 'counters 2' grep -aH '' $rd_counters
    nd_cmd_as 'uptime 2' cat /proc/uptime
fi
