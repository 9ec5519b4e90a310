# $1 the probe's process; fd 7 the guard, fd 8 the client. A client that does not read must not stop the
# guard's clock, so the line for the client is written by a process that may wait, one at a time.
trap '' PIPE HUP
trap 'kill "$z"; exit 0' TERM INT
w=''
while :; do
sleep 1 7>&- 8>&- &
z=$!
wait "$z"
# Whoever has ended and was not waited for can still be signalled.
s=''
# shellcheck disable=SC2034
kill -0 "$1" && { read -r x x s x <"/proc/$1/stat" || s=S; }
case $s in '' | Z | X) echo x >&7; exit ;; esac
echo t >&7 || exit
if [ -z "$w" ] || ! kill -0 "$w"; then
{ printf '@%s tick\n' "$ND_NONCE" >&8 || echo x >&7; } &
w=$!
fi
done
