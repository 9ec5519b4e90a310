# $1 the probe's process, $2 its nonce; fd 7 the guard, fd 8 the client. A client that does not read must not stop the
# guard's clock, so the line for the client is written by a process that may wait, one at a time.
trap '' PIPE HUP
trap 'kill "$z"; exit 0' TERM INT
w=''
while :; do
sleep 1 7>&- 8>&- &
z=$!
wait "$z"
kill -0 "$1" || { echo x >&7; exit; }
echo t >&7 || exit
if [ -z "$w" ] || ! kill -0 "$w"; then
{ printf '@%s tick\n' "$2" >&8 || echo x >&7; } &
w=$!
fi
done
