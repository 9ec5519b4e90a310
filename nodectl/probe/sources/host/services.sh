# source: services
# about: state of the systemd units that checks name
# by_hand: systemctl status {key}
# timeout: 10
# lane: slow
# root: no
# args: service
nd_file /proc/1/comm
nd_cmd_as 'systemctl show' systemctl show --no-pager \
    -p Id -p Names -p LoadState -p ActiveState -p SubState -p UnitFileState -p NRestarts -p LimitMEMLOCK -p LimitNOFILE \
    "$@"
