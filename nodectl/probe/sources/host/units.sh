# source: units
# about: systemd units that failed
# by_hand: systemctl --failed
# timeout: 12
# lane: slow
# root: no
nd_file /proc/1/comm
nd_cmd_as 'failed units' timeout -k 1 8 systemctl list-units --all --state=failed --no-legend --plain --no-pager
