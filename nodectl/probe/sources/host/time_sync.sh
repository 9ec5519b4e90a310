# source: time_sync
# about: whether the clock follows a time source, and how far it is off
# by_hand: timedatectl; chronyc tracking
# timeout: 12
# lane: slow
# root: no
if nd_have timedatectl; then
    nd_cmd_as 'timedatectl show' timeout -k 1 4 timedatectl show -p NTP -p NTPSynchronized -p CanNTP
fi
# timesyncd touches this file at each synchronisation.
[ -e /run/systemd/timesync/synchronized ] && nd_text 'timesync mark' yes
if nd_have chronyc; then nd_cmd_as 'chronyc -n tracking' timeout -k 1 4 chronyc -n tracking; fi
if nd_have ntpq; then nd_cmd_as 'ntpq -c rv' timeout -k 1 4 ntpq -n -c 'rv 0 stratum,offset,leap,refid' 127.0.0.1; fi
