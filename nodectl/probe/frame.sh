# shellcheck disable=SC2154 # nodectl/probe/compose.py puts in front: ND_NONCE ND_SAMPLE_S, nd_sudo nd_cap nd_budget nd_limit,
# nd_names nd_lanes nd_lane_N, nd_prelude nd_guard nd_ticker and nd_body_NAME.
#
# The machinery around the sources. It writes nothing but its stdout, and leaves no process behind.
#
#   main ($$)   waits for a pipeline of two:
#     conductor   starts the lanes and waits for them         fd 7: to the guard, fd 8: the probe's stdout
#       lane | encoder, one pair a lane                       a lane runs its sources, each in a process group of its own
#       ticker    in a group of its own: once a second a tick for the guard and one for the client; sees that the
#                 client or main is gone
#     guard       in a group of its own: knows every source that runs, ends what is late or, on "x" or EOF, everything
#
# To the guard go lines: + GROUP TIMEOUT LANE_PID (a source runs), - GROUP (it ended), l PID and m PID (a lane began,
# and is through), k GROUP (the ticker), t (a second), x (end everything), q (all is
# done).

# Seconds of uptime into nd_up.
nd_clock() { read -r nd_up nd_x 2>/dev/null </proc/uptime || nd_up=$(date +%s); }

# LANE. A few whole lines at a time, at most 4,000 bytes: the kernel never tears such a write apart. It ends with its
# lane, not with EOF: who cannot be killed may hold the pipe for ever.
nd_encode() {
if command -v awk >/dev/null 2>&1; then
exec awk -v p="$1" -v cap="$nd_cap" '
BEGIN { m = "@" ENVIRON["ND_NONCE"] " " }
function out() { if (b != "") { printf "%s", b; fflush(); b = "" } }
function put(t) { if (length(b) + length(t) > 3900) out(); b = b t }
{
c = w = 0
if (substr($0, 1, 1) == "@" && index($0, m) == 1) { c = 1; w = substr($0, length(m) + 1, 4) }
if (c && w == "pad ") next
if (c && w == "src ") n = d = 0
else if (d && !(c && (w == "exit" || w == "stuc" || w == "skip" || w == "lane"))) next
k = length($0)
n += k + 4
if (n > cap && !d) { d = 1; put(p ":" m "big\n"); if (!c) next }
for (i = 1; k - i >= 2000; i += 2000) put(p "+" substr($0, i, 2000) "\n")
put(p ":" substr($0, i) "\n")
if (c && w == "lane") exit
if (c && w != "begi" && w != "err ") out()
}
END { out() }'
fi
nd_q='??????????????????????????????????????????????????'
nd_q=$nd_q$nd_q$nd_q$nd_q$nd_q$nd_q$nd_q$nd_q$nd_q$nd_q
while IFS= read -r nd_l || [ -n "$nd_l" ]; do
case $nd_l in "@$ND_NONCE pad "*) return ;; esac
while [ "${#nd_l}" -gt 2000 ]; do
# shellcheck disable=SC2295
nd_r=${nd_l#$nd_q$nd_q$nd_q$nd_q}
printf '%s+%s\n' "$1" "${nd_l%"$nd_r"}"
nd_l=$nd_r
done
printf '%s:%s\n' "$1" "$nd_l"
done
}

# NAME TIMEOUT ARGS... Runs one source in this lane.
nd_one() {
nd_s=$1 nd_t=$2
shift 2
nd_clock
nd_b=${nd_up%.*}
if [ "$((nd_b - nd_t0))" -ge "$nd_budget" ]; then
printf '@%s skip %s\n' "$ND_NONCE" "$nd_s" || exit
return
fi
printf '@%s at %s %s %s\n' "$ND_NONCE" "$nd_id" "$nd_s" "$nd_t" >&8
printf '@%s src %s %s %s\n' "$ND_NONCE" "$nd_s" "$nd_up" "$nd_t" || exit
eval "nd_x=\$nd_body_$nd_s"
ND_TAG="$nd_t $nd_me"
nd_w=$nd_group
[ "$nd_how" = timeout ] && nd_w="timeout -k 2 $nd_t"
nd_go=
$nd_w sh -c "$nd_hello$nd_prelude$nd_x" "nd-$nd_s" "$@" </dev/null 2>&1 8>&- &
nd_p=$!
while :; do
wait "$nd_p"
nd_rc=$?
nd_clock
[ -n "$nd_go" ] || break
# The guard says that it is stuck. A signal that was meant for the source before this one is no reason to leave it.
[ "$((${nd_up%.*} - nd_b))" -gt "$nd_t" ] && break
nd_go=
done
echo "- $nd_p" >&7
# Whatever it left running would keep the lane's pipe open.
[ "$nd_how" = none ] || kill -KILL "-$nd_p"
if [ -n "$nd_go" ]; then
printf '\n@%s stuck %s %s\n' "$ND_NONCE" "$nd_s" "$nd_up" || exit
else
printf '\n@%s exit %s %s %s\n' "$ND_NONCE" "$nd_s" "$nd_rc" "$nd_up" || exit
fi
}

# LANE
nd_lane() {
nd_id=$1 nd_go=''
read -r nd_me nd_x 2>/dev/null </proc/self/stat || nd_me=0
echo "l $nd_me" >&7
trap 'nd_go=1' USR1
nd_clock
nd_t0=${nd_up%.*}
"nd_lane_$1"
echo "m $nd_me" >&7
# An awk that reads in blocks needs a nudge when there is no EOF.
printf '@%s lane\n@%s pad %9000s\n' "$ND_NONCE" "$ND_NONCE" ''
}

nd_conduct() {
trap 'echo x >&7; exit 1' HUP INT TERM
$nd_group sh -c "$nd_ticker" nd-ticker "$$" </dev/null >/dev/null 2>&1 &
echo "k $!" >&7
nd_e='' nd_i=0
while [ "$nd_i" -lt "$nd_lanes" ]; do
nd_lane "$nd_i" 2>/dev/null | nd_encode "$nd_i" 2>/dev/null 7>&- 8>&- &
nd_e="$nd_e $!"
nd_i=$((nd_i + 1))
done
# shellcheck disable=SC2086
[ -z "$nd_e" ] || wait $nd_e
printf '@%s done\n' "$ND_NONCE"
echo q >&7
}

nd_main() {
umask 077
LC_ALL=C TZ=UTC0 TERM=dumb PAGER=cat SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/cuda/bin:/opt/bin
ND_TAG='' ND_SUDO=''
export LC_ALL TZ TERM PAGER SYSTEMD_PAGER SYSTEMD_COLORS PATH ND_NONCE ND_SAMPLE_S ND_SUDO ND_TAG
unset GREP_OPTIONS GREP_COLOR POSIXLY_CORRECT LANGUAGE CDPATH ENV BASH_ENV
nd_uid=''
while read -r nd_x nd_y nd_z; do
case $nd_x in Uid:) nd_uid=${nd_z%%[!0-9]*}; break ;; esac
done 2>/dev/null </proc/self/status
[ -n "$nd_uid" ] || nd_uid=$(id -u)
if [ "$nd_uid" != 0 ]; then
ND_SUDO=nd_no_root
[ "$nd_sudo" = yes ] && command -v sudo >/dev/null 2>&1 && ND_SUDO='sudo -n'
fi
# Who leads a process group of its own can be ended with all that it started. coreutils' timeout makes one, busybox'
# does not.
nd_how=none nd_group='' nd_hello="echo \"+ \$\$ \$ND_TAG\" 2>/dev/null >&7; exec 7>&-; unset ND_TAG; "
# shellcheck disable=SC2016
if timeout -k 1 5 sh -c 'read -r a b c p g x </proc/self/stat && [ "$p" = "$g" ] && [ "$p" != "$0" ]' "$$" </dev/null >/dev/null 2>&1; then
nd_how=timeout nd_group="timeout -k 2 $((nd_limit + 30))"
# Within such a group, one more timeout must not make its own: it would be out of reach.
nd_hello='timeout() { command timeout --foreground "$@"; }; '
nd_hello="${nd_hello}echo \"+ \$PPID \$ND_TAG\" 2>/dev/null >&7; exec 7>&-; unset ND_TAG; "
elif command -v setsid >/dev/null 2>&1; then
nd_how=setsid nd_group=setsid
fi
# shellcheck disable=SC2034
read -r nd_x nd_y nd_z nd_p nd_lead nd_q 2>/dev/null </proc/self/stat
nd_clock
printf '\n@%s probe version=1 uid=%s epoch=%s uptime=%s how=%s lanes=%s sources=%s\n' \
"$ND_NONCE" "$nd_uid" "$(date +%s)" "$nd_up" "$nd_how" "$nd_lanes" "$nd_names"
{ nd_conduct 2>/dev/null 7>&1 >&8 | $nd_group sh -c "$nd_guard" nd-guard "$$" "$nd_lead" "$nd_how" "$nd_limit" >/dev/null 2>&1 8>&-; } 8>&1
}
