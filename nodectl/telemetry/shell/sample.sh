# shellcheck disable=SC2154,SC2153,SC2086,SC2034,SC2015 # variables come through the environment; lists of words are meant to be split
#
# The sampler for nodes without python3, in sh and awk. Nothing is written to disk (no here-documents: bash puts them
# in /tmp). All of it is one process group:
#
#   main ($$)   waits for the pipeline
#     channel   reads standard input; at its end says @eof, and two seconds later ends the group
#     beat      each interval: the files whose reading may fail (mawk ends at a read error), then @b; ends the group
#               when main or its parent is gone
#     smi       nvidia-smi -lms; started again when it ends
#     procs     what runs on the GPUs, each 5 seconds
#     awk       the only one that holds standard output: makes the lines, and the group ends with it
#
# Lines to awk that begin with @ are ours, the others are nvidia-smi's.
LC_ALL=C
export LC_ALL
exec 2>/dev/null
nd_parent=$PPID nd_awk=$ND_AWK
unset ND_SAMPLE ND_AWK
nd_nl='
'

# TREE PID: it and all that it started, for when the process group is not ours.
nd_tree() {
set -- "$1" "$(cat "/proc/$1/task/$1/children")"
kill -KILL "$1"
for nd_c in $2; do nd_tree "$nd_c"; done
}
nd_end() {
[ "$nd_group" = $$ ] && kill -KILL "-$$"
nd_tree $$
}
nd_me() {
read -r nd_x nd_y </proc/self/stat
echo "@pid $nd_x"
}

nd_channel() {
while read -r nd_x; do :; done
# Whatever blocks the way to awk, and awk itself, has two seconds.
{ sleep 2; nd_end; } &
echo @eof
}

# Main is there, is not dead and unburied, and has the parent that it began with.
nd_alive() {
read -r nd_x nd_x nd_y nd_p nd_x </proc/$$/stat && [ "$nd_p" = "$nd_parent" ] || return 1
case $nd_y in [ZX]) return 1 ;; esac
}

# FILE: its first word, in nd_v, if it can be read and is a number.
nd_number() {
read -r nd_v nd_x <"$1" || return 1
case $nd_v in '' | *[!0-9]*) return 1 ;; esac
}

# Bytes sent and received by all InfiniBand and RoCE ports.
nd_ib() {
nd_tx=0 nd_rx=0
for nd_f in $nd_ports; do
case $nd_f in
*/hw_counters) nd_k=tx_bytes nd_y=rx_bytes nd_u=1 ;;
*) nd_k=port_xmit_data nd_y=port_rcv_data nd_u=4 ;;
esac
nd_number "$nd_f/$nd_k" && nd_tx=$((nd_tx + nd_v * nd_u))
nd_number "$nd_f/$nd_y" && nd_rx=$((nd_rx + nd_v * nd_u))
done
read -r nd_up nd_x <"$ND_ROOT/proc/uptime" && echo "@i $nd_up $nd_tx $nd_rx"
}

nd_beat() {
nd_me
while nd_alive; do
[ -z "$nd_ports" ] || nd_ib
[ "$ND_BACKEND" != amdgpu ] || nd_amd_read
echo @b || break
sleep "$nd_sleep"
done
nd_end
}

# Network interfaces or disks with a device behind them: no virtual functions, no IPoIB, nothing that is elsewhere.
nd_names_of() {
for nd_f; do
[ -e "$nd_f/device" ] && [ ! -e "$nd_f/device/physfn" ] || continue
nd_x=''
read -r nd_x <"$nd_f/type"
[ "$nd_x" != 32 ] || continue
nd_x=${nd_f##*/}
case $nd_x in *[[:cntrl:][:space:]]* | sr[0-9]* | nbd[0-9]* | rbd[0-9]* | fd[0-9]*) continue ;; esac
printf '%s ' "$nd_x"
done
}

nd_start() {
read -r nd_x nd_x nd_x nd_x nd_group nd_x </proc/$$/stat
ND_PID=$$
ND_NICS=$(nd_names_of "$ND_ROOT"/sys/class/net/*)
ND_DISKS=$(nd_names_of "$ND_ROOT"/sys/block/*)
ND_IB='' nd_ports=''
for nd_f in "$ND_ROOT"/sys/class/infiniband/*/ports/*; do
nd_x=ACTIVE
read -r nd_x <"$nd_f/state"
case $nd_x in *ACTIVE*) ;; *) continue ;; esac
if nd_number "$nd_f/counters/port_xmit_data"; then
nd_ports="$nd_ports $nd_f/counters"
elif nd_number "$nd_f/hw_counters/tx_bytes"; then
nd_ports="$nd_ports $nd_f/hw_counters"
else
continue
fi
nd_x=${nd_f%/ports/*}
ND_IB="$ND_IB ${nd_x##*/}/${nd_f##*/}"
done
ND_HZ=$(getconf CLK_TCK) || ND_HZ=100
# busybox' date has no %N; whole seconds are then half a second early on average.
ND_NOW=$(date +%s.%N)
case $ND_NOW in *[!0-9.]* | *.) ND_NOW=$(date +%s).5 ;; esac
read -r ND_UP nd_x <"$ND_ROOT/proc/uptime"
export ND_PID ND_NICS ND_DISKS ND_IB ND_HZ ND_NOW ND_UP
nd_sleep=$ND_INTERVAL
sleep 0.001 || nd_sleep=${nd_sleep%.*}
[ "${nd_sleep:-0}" != 0 ] || nd_sleep=1
nd_flags=''
case $(awk -W version 2>&1 </dev/null) in *mawk*) nd_flags='-W interactive' ;; esac
{
nd_channel <&3 &
exec 3<&-
[ "$ND_BACKEND" != amdgpu ] || nd_amd_find
nd_beat &
case $ND_BACKEND in
smi)
nd_procs &
nd_smi
;;
none) echo @h ;;
esac
wait
} 3<&0 </dev/null | {
awk $nd_flags "$nd_awk"
nd_end
}
}
nd_start
