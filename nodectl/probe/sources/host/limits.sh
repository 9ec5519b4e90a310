# source: limits
# about: resource limits of the session that asks
# by_hand: ulimit -a
# timeout: 5
# lane: fast
# root: no
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_file /proc/self/limits
