# source: numa
# about: NUMA nodes with their CPUs and memory
# by_hand: numactl -H
# timeout: 5
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
nd_grep /sys/devices/system/node/node[0-9]*/cpulist
nd_cmd_as 'numa memory' grep -aH MemTotal /sys/devices/system/node/node[0-9]*/meminfo
