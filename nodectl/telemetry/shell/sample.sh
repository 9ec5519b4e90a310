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

# ---- nvidia-smi

# What this nvidia-smi calls the fields: nd_names (ours) and nd_query (its), in the same order.
nd_fields() {
nd_help=" $(nvidia-smi --help-query-gpu </dev/null | sed -n 's/^"\([^"]*\)" or "\([^"]*\)".*/\1 \2/p;s/^"\([^"]*\)".*/\1/p' | tr '\n' ' ') "
nd_names='' nd_query=''
for nd_f in $ND_QUERY; do
nd_found=''
for nd_a in $(echo "${nd_f#*=}" | tr , ' '); do
case $nd_help in '  ' | *" $nd_a "*) nd_found=$nd_a && break ;; esac
done
if [ -n "$nd_found" ]; then
nd_names="$nd_names ${nd_f%%=*}" nd_query="$nd_query $nd_found"
else
echo "@u ${nd_f%%=*} this nvidia-smi has no $nd_a"
fi
done
}

# FIELD: leaves out what nvidia-smi has refused, all of it where the help text promised too much.
nd_refused() {
nd_n='' nd_q=''
set -- "$1" $nd_query
nd_bad=$1
shift
for nd_f in $nd_names; do
if [ "$1" = "$nd_bad" ]; then
echo "@u $nd_f this nvidia-smi has no $nd_bad"
else
nd_n="$nd_n $nd_f" nd_q="$nd_q $1"
fi
shift
done
nd_names=$nd_n nd_query=$nd_q
}

# [-i GPU] One question: static values, then the fields, then the name, which may have commas in it.
nd_ask() {
nvidia-smi "$@" --query-gpu="index,uuid,pci.bus_id,driver_version,memory.total,$(echo $nd_query | tr ' ' ,),name" \
--format=csv,noheader,nounits 2>&1 </dev/null
}

# The devices, to awk. Fails with nvidia-smi's words in nd_out when there are none.
nd_devices() {
nd_tries=0
until nd_out=$(nd_ask); do
nd_tries=$((nd_tries + 1))
case $nd_out in
*'Field "'*'" is not a valid field'*)
[ "$nd_tries" -lt 40 ] || return 1
nd_x=${nd_out#*'Field "'}
nd_refused "${nd_x%%'"'*}"
;;
*handle* | *lost* | *nknown*)
# One GPU that is gone may keep nvidia-smi from telling of the others.
nd_all=$nd_out
for nd_x in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
nd_out=$(nd_ask -i $nd_x) && nd_all="$nd_all$nd_nl$nd_out"
done
nd_out=$nd_all
break
;;
*) return 1 ;;
esac
done
echo "@columns $nd_names"
nd_uuids=''
nd_ifs=$IFS IFS=$nd_nl
set -f
for nd_x in $nd_out; do
nd_y=${nd_x#*, }
nd_y=${nd_y%%,*}
case $nd_y in
GPU-*[!0-9A-Za-z-]*) ;;
GPU-*)
nd_uuids="$nd_uuids $nd_y"
printf '@d %s\n' "$nd_x"
;;
*) printf '%s\n' "$nd_x" ;;
esac
done
set +f
IFS=$nd_ifs
[ -n "$nd_uuids" ]
}

nd_smi() {
nd_fields
until nd_devices; do
printf '@none %s\n' "${nd_out%%"$nd_nl"*}"
sleep 30
done
echo @h
nd_only=''
while :; do
nvidia-smi $nd_only --query-gpu="uuid,$(echo $nd_query | tr ' ' ,)" --format=csv,noheader,nounits -lms "$ND_MS" 2>&1 </dev/null &
echo "@pid $!"
wait $!
echo "@x $?"
sleep 3
# Go on with those that still answer.
nd_only=''
for nd_x in $nd_uuids; do
nvidia-smi -i "$nd_x" --query-gpu=uuid --format=csv,noheader >/dev/null </dev/null && nd_only="$nd_only,$nd_x"
done
nd_only=${nd_only:+-i ${nd_only#,}}
done
}

# PID: nd_user and nd_job of it; both empty if they cannot be read.
nd_owner() {
nd_user='' nd_job=''
while read -r nd_k nd_v nd_x; do
[ "$nd_k" = Uid: ] && nd_user=$nd_v && break
done <"/proc/$1/status"
case $nd_user in '' | *[!0-9]*) nd_user='' ;; esac
if [ -n "$nd_user" ]; then
case $nd_users in
*" $nd_user="*) ;;
*)
nd_x=$(getent passwd "$nd_user")
[ -n "$nd_x" ] || while IFS=: read -r nd_k nd_y nd_v nd_x; do
[ "$nd_v" = "$nd_user" ] && nd_x=$nd_k && break
done </etc/passwd
nd_x=${nd_x%%:*}
case $nd_x in *[!A-Za-z0-9._@\\-]*) nd_x='' ;; esac
nd_users="$nd_users $nd_user=${nd_x:-$nd_user} "
;;
esac
nd_user=${nd_users#*" $nd_user="}
nd_user=${nd_user%% *}
fi
while read -r nd_x; do
case $nd_x in
*/job_[0-9]*)
nd_x=${nd_x#*/job_}
nd_job=slurm:${nd_x%%[!0-9_]*}
break
;;
*kubepods*pod[0-9a-f]*)
nd_x=${nd_x##*pod}
nd_x=${nd_x%%[!0-9a-f_-]*}
nd_job=pod:$(echo "$nd_x" | tr _ -)
break
;;
*[/:-][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*)
nd_x=${nd_x##*[/:-]}
nd_x=${nd_x%.scope}
[ "${#nd_x}" = 64 ] && nd_job=container:${nd_x%????????????????????????????????????????????????????}
;;
esac
done <"/proc/$1/cgroup"
}

nd_procs() {
nd_me
nd_users=' '
sleep 1
while :; do
nd_out=$(nvidia-smi --query-compute-apps=gpu_uuid,pid,used_gpu_memory,process_name --format=csv,noheader,nounits </dev/null) && {
echo @p
nd_ifs=$IFS IFS=$nd_nl
set -f
for nd_l in $nd_out; do
IFS=$nd_ifs
nd_x=${nd_l#*, }
nd_x=${nd_x%%,*}
case $nd_x in
'' | *[!0-9]*) ;;
*)
nd_owner "$nd_x"
printf '@r %s\t%s\t%s\n' "$nd_user" "$nd_job" "$nd_l"
;;
esac
done
set +f
IFS=$nd_ifs
echo @q
}
sleep 5
done
}

# ---- amdgpu

# CARD NUMBER BUS: the card's static values to awk, its files to nd_fast and nd_slow as GPU=KEY=PATH.
nd_amd_card() {
nd_d=$1 nd_i=$2 nd_name=''
read -r nd_name <"$nd_d/product_name"
[ -n "$nd_name" ] || { read -r nd_x <"$nd_d/device" && nd_name="AMD GPU $nd_x"; }
nd_uuid=''
read -r nd_uuid nd_x <"$nd_d/unique_id"
nd_number "$nd_d/mem_info_vram_total" || nd_v=
printf '@a %s\t%s\t%s\t%s\t%s\n' "$nd_i" "$3" "$nd_uuid" "$nd_v" "$nd_name"
for nd_f in util=gpu_busy_percent memutil=mem_busy_percent used=mem_info_vram_used; do
[ -r "$nd_d/${nd_f#*=}" ] && nd_fast="$nd_fast $nd_i=${nd_f%%=*}=$nd_d/${nd_f#*=}"
done
for nd_f in replays=pcie_replay_count gen=current_link_speed width=current_link_width; do
[ -r "$nd_d/${nd_f#*=}" ] && nd_slow="$nd_slow $nd_i=${nd_f%%=*}=$nd_d/${nd_f#*=}"
done
for nd_f in "$nd_d"/ras/*_err_count; do
[ -r "$nd_f" ] && nd_slow="$nd_slow $nd_i=ras=$nd_f"
done
nd_clocks=''
for nd_h in "$nd_d"/hwmon/hwmon[0-9]*; do
for nd_f in power=power1_average power=power1_input; do
[ -r "$nd_h/${nd_f#*=}" ] && nd_fast="$nd_fast $nd_i=power=$nd_h/${nd_f#*=}" && break
done
for nd_f in cap=power1_cap energy=energy1_input; do
[ -r "$nd_h/${nd_f#*=}" ] && nd_slow="$nd_slow $nd_i=${nd_f%%=*}=$nd_h/${nd_f#*=}"
done
for nd_f in "$nd_h"/temp[0-9]*_input; do
nd_x=edge
read -r nd_x nd_y <"${nd_f%_input}_label"
[ -r "$nd_f" ] || continue
nd_fast="$nd_fast $nd_i=t_$nd_x=$nd_f"
[ -r "${nd_f%_input}_crit" ] && nd_slow="$nd_slow $nd_i=c_$nd_x=${nd_f%_input}_crit"
done
for nd_f in "$nd_h"/freq[0-9]*_label; do
read -r nd_x nd_y <"$nd_f" && [ -r "${nd_f%_label}_input" ] || continue
nd_fast="$nd_fast $nd_i=$nd_x=${nd_f%_label}_input" nd_clocks="$nd_clocks $nd_x"
done
done
for nd_x in sclk mclk; do
case $nd_clocks in *$nd_x*) continue ;; esac
[ -r "$nd_d/pp_dpm_$nd_x" ] && nd_fast="$nd_fast $nd_i=dpm_$nd_x=$nd_d/pp_dpm_$nd_x"
done
}

nd_amd_find() {
nd_fast='' nd_slow='' nd_i=0 nd_ticks=0
for nd_x in $(for nd_c in "$ND_ROOT"/sys/class/drm/card[0-9]*; do
case ${nd_c##*/} in *-*) continue ;; esac
read -r nd_v <"$nd_c/device/vendor" && [ "$nd_v" = 0x1002 ] && [ -e "$nd_c/device/mem_info_vram_total" ] || continue
nd_b=''
while read -r nd_l; do
case $nd_l in PCI_SLOT_NAME=*) nd_b=${nd_l#*=} ;; esac
done <"$nd_c/device/uevent"
printf '%s=%s\n' "${nd_b:-${nd_c##*/}}" "$nd_c/device"
done | sort); do
nd_amd_card "${nd_x#*=}" "$nd_i" "${nd_x%%=*}"
nd_i=$((nd_i + 1))
done
}

# All values in one line: GPU=KEY=VALUE...
nd_amd_read() {
nd_list=$nd_fast
[ $((nd_ticks % ND_SLOW_TICKS)) -ne 0 ] || nd_list="$nd_fast $nd_slow"
nd_ticks=$((nd_ticks + 1))
nd_out=@g
for nd_w in $nd_list; do
nd_i=${nd_w%%=*} nd_k=${nd_w#*=}
nd_f=${nd_k#*=} nd_k=${nd_k%%=*}
case $nd_k in
dpm_*)
while read -r nd_x nd_v nd_y; do
case $nd_y in *\**) nd_out="$nd_out $nd_i=$nd_k=$nd_v" ;; esac
done <"$nd_f"
;;
ras)
while read -r nd_x nd_v nd_y; do nd_out="$nd_out $nd_i=$nd_x=$nd_v"; done <"$nd_f"
;;
*) read -r nd_v nd_x <"$nd_f" && nd_out="$nd_out $nd_i=$nd_k=$nd_v" ;;
esac
done
printf '%s\n' "$nd_out"
[ "$nd_ticks" -gt 1 ] || echo @h
}

# ---- all of it

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
