# source: tuned
# about: the active TuneD profile
# by_hand: tuned-adm active
# timeout: 5
# lane: fast
# root: no
nd_file /etc/tuned/active_profile
