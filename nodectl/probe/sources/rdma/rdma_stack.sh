# source: rdma_stack
# about: RDMA software: OFED release, device files, peer memory clients, active MTU, SHARP libraries
# by_hand: ofed_info -s; ls -l /dev/infiniband; ibv_devinfo; ls /sys/kernel/mm/memory_peers
# timeout: 25
# lane: slow
# root: no

[ -d /sys/class ] || nd_text 'not mounted' /sys
if nd_have ofed_info; then
    nd_cmd timeout -k 1 5 ofed_info -s
else
    nd_text 'no ofed_info' yes
fi
nd_cmd ls -d /sys/class
rs_any=
for rs_dir in /sys/class/infiniband/*; do
    [ -d "$rs_dir/ports" ] && rs_any=yes && break
done
nd_text 'any device' "$rs_any"
if [ -n "$rs_any" ]; then
    nd_cmd ls -l /dev/infiniband
    set --
    for rs_dir in /sys/class/infiniband_verbs/uverbs*; do
        [ -e "$rs_dir/ibdev" ] && set -- "$@" "$rs_dir/ibdev"
    done
    [ $# -eq 0 ] || nd_grep "$@"
    if nd_have ibv_devinfo; then
        nd_cmd timeout -k 1 10 ibv_devinfo
    else
        nd_text 'no ibv_devinfo' yes
    fi
    for rs_dir in /sys/kernel/mm/memory_peers/*; do
        [ -d "$rs_dir" ] && nd_text 'peer memory client' "${rs_dir##*/}"
    done
fi
# SHARP over InfiniBand: the library, and the plugin through which NCCL finds it.
for rs_file in /opt/mellanox/sharp/lib/libsharp_coll.so* /opt/hpcx*/sharp/lib/libsharp_coll.so* \
    /opt/*/hpcx*/sharp/lib/libsharp_coll.so* /usr/lib/*/libsharp_coll.so* /usr/lib64/libsharp_coll.so*; do
    [ -e "$rs_file" ] && nd_text 'sharp library' "$rs_file" && break
done
for rs_file in /opt/mellanox/nccl_rdma_sharp_plugin/lib/libnccl-net.so /opt/hpcx*/nccl_rdma_sharp_plugin/lib/libnccl-net.so \
    /opt/*/hpcx*/nccl_rdma_sharp_plugin/lib/libnccl-net.so /usr/lib/*/libnccl-net.so /usr/lib64/libnccl-net.so \
    /usr/local/lib/libnccl-net.so; do
    [ -e "$rs_file" ] && nd_text 'nccl net plugin' "$rs_file" && break
done
nd_text 'looked for libraries' yes
