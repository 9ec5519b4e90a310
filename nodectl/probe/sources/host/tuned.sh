# source: tuned
# about: the active TuneD profile
# timeout: 5
# lane: fast
# root: no
nd_file /etc/tuned/active_profile
