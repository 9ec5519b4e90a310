# shellcheck shell=sh disable=SC2154,SC2153,SC2086,SC2034,SC2015 # see sample.sh, whose functions and variables these share
# What nvidia-smi says, as lines for awk: the devices, their samples, the processes.

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
