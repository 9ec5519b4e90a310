# source: boots
# about: when the node was started of late
# by_hand: last reboot
# timeout: 8
# lane: slow
# root: no
# Only util-linux writes times that can be told apart everywhere.
if [ -r /var/log/wtmp ] && last -n 1 --time-format iso reboot >/dev/null 2>&1; then
    nd_cmd_as 'last starts' timeout -k 1 4 last -n 60 --time-format iso reboot
else
    nd_text 'no record' 'neither last nor /var/log/wtmp'
fi
