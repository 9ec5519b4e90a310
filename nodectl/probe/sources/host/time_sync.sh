# source: time_sync
# about: whether the clock follows a time source, and how far it is off
# by_hand: timedatectl; chronyc tracking
# timeout: 12
# lane: slow
# root: no
if nd_have timedatectl; then
    nd_cmd_as 'timedatectl show' timeout -k 1 4 timedatectl show -p NTP -p NTPSynchronized -p CanNTP
else
    nd_text 'timedatectl show' none
fi
# timesyncd touches this file at each synchronisation.
if [ -e /run/systemd/timesync/synchronized ]; then nd_text 'timesync mark' yes; else nd_text 'timesync mark' no; fi
if nd_have chronyc; then
    nd_cmd_as 'chronyc -n tracking' timeout -k 1 4 chronyc -n tracking
else
    nd_text 'chronyc -n tracking' none
fi
if nd_have ntpq; then
    nd_cmd_as 'ntpq -c rv' timeout -k 1 4 ntpq -n -c 'rv 0 stratum,offset,leap,refid' 127.0.0.1
else
    nd_text 'ntpq -c rv' none
fi
