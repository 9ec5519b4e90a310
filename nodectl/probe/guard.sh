# $1 the probe's process, $2 its process group, $3 how sources are started, $4 seconds after which all must be over.
trap '' HUP INT TERM PIPE
n=0 runs='' aux='' tick='' over=''
# SIGNAL PID, with all that it started. (kill -KILL -- -PID is not understood by dash, kill -s KILL -- by busybox.)
end() {
if [ "$how" != none ]; then
kill "-$1" "-$2" || kill "-$1" "$2"
return
fi
set -- "$1" "$2" "$(cat "/proc/$2/task/$2/children")"
kill "-$1" "$2"
for c in $3; do end "$1" "$c"; done
}
# LIST PID: the list without it, in $list.
without() {
list=''
for e in $1; do
case $e in "$2" | "$2":*) ;; *) list="$list $e" ;; esac
done
}
late() {
for e in $runs; do
p=${e%%:*} l=${e##*:} d=${e#*:}
d=$((n - ${d%:*}))
[ "$d" -ge 3 ] && end KILL "$p"
[ "$d" -lt 3 ] && [ "$d" -ge 1 ] && [ "$how" != timeout ] && end TERM "$p"
[ "$d" -ge 4 ] && [ "$l" -gt 1 ] && kill -USR1 "$l"
done
}
all() {
over=1
for e in $runs; do end KILL "${e%%:*}"; done
for e in $aux; do kill -KILL "$e"; done
[ -n "$tick" ] && end KILL "$tick"
if [ "$group" = "$main" ]; then kill -KILL "-$main"; else kill -KILL "$main"; fi
}
main=$1 group=$2 how=$3 limit=$4
while read -r what a b c; do
case $what in
+) runs="$runs $a:$((n + b)):$c"; [ -n "$over" ] && end KILL "$a" ;;
-) without "$runs" "$a"; runs=$list ;;
l) aux="$aux $a" ;;
m) without "$aux" "$a"; aux=$list ;;
k) tick=$a ;;
t) n=$((n + 1)); late; [ "$n" -ge "$limit" ] && all ;;
x) all ;;
q) break ;;
esac
done
for e in $runs $tick; do end KILL "${e%%:*}"; done
