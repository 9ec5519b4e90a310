# source: memory
# about: memory, swap, huge pages, transparent huge pages, same-page merging, page size
# by_hand: cat /proc/meminfo /proc/swaps; grep . /sys/kernel/mm/transparent_hugepage/*
# timeout: 5
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_file /proc/meminfo
nd_grep /sys/kernel/mm/transparent_hugepage/enabled /sys/kernel/mm/transparent_hugepage/defrag /sys/kernel/mm/ksm/run
nd_grep /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages /sys/kernel/mm/hugepages/hugepages-*/free_hugepages
nd_cmd_as 'page size' grep -m 1 KernelPageSize /proc/self/smaps
