# source: node
# about: kernel release, boot arguments, host name, machine and boot id, uptime, clock
# by_hand: uname -r; cat /proc/cmdline; uptime
# timeout: 5
# lane: fast
# root: no
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_grep /proc/sys/kernel/osrelease /proc/sys/kernel/hostname /proc/sys/kernel/random/boot_id /proc/uptime
nd_file /proc/cmdline /etc/machine-id
nd_cmd uname -m
nd_cmd date -u +%Y-%m-%dT%H:%M:%SZ
