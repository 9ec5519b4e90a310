# source: crash_dump
# about: memory that is kept for a crash kernel, and whether one is loaded
# by_hand: cat /sys/kernel/kexec_crash_size /sys/kernel/kexec_crash_loaded
# timeout: 5
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
nd_grep /sys/kernel/kexec_crash_size /sys/kernel/kexec_crash_loaded
