# source: cpu
# about: CPU model, sockets, cores, threads, SMT and vulnerabilities
# by_hand: lscpu
# timeout: 10
# lane: fast
# root: no
# One stanza of /proc/cpuinfo is enough, and 256 of them cost time on the node and bytes on the wire.
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_cmd_as 'first CPU of /proc/cpuinfo' sed '/^$/q' /proc/cpuinfo
cp_different() { cat /sys/devices/system/cpu/cpu[0-9]*/topology/"$1" | sort -u | wc -l; }
nd_cmd_as cores cp_different thread_siblings_list
nd_cmd_as sockets cp_different physical_package_id
nd_grep /sys/devices/system/cpu/online /sys/devices/system/cpu/smt/active /sys/devices/system/cpu/smt/control
nd_grep /sys/devices/system/cpu/vulnerabilities/*
