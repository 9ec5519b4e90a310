# What every source may call. It is put before the body of each source, so it is small, and plain POSIX sh.
# A section is: a begin line, the content as it is, one newline that is not part of it, then err lines and the end
# line. Only lines that carry the nonce are control lines; the commands that a source runs never see it.
nd_n=$ND_NONCE
unset ND_NONCE
nd_nl='
'
nd_no_root() { printf 'needs root: %s\n' "$*" >&2; return 77; }
nd_have() { command -v "$1" >/dev/null 2>&1; }
nd_pause() { sleep "$ND_SAMPLE_S"; }
# KIND NAME
nd_begin() {
nd_x=$2
case $nd_x in *[[:cntrl:]]*) nd_x=$(printf %s "$nd_x" | tr '[:cntrl:]' ' ') ;; esac
printf '@%s begin %s %s\n' "$nd_n" "$1" "$nd_x"
}
# RC STDERR
nd_end() {
printf '\n'
if [ -n "$2" ]; then
nd_i=$IFS IFS=$nd_nl nd_k=0
set -f
for nd_x in $2; do
nd_k=$((nd_k + 1))
[ "$nd_k" -gt 50 ] && break
printf '@%s err %s\n' "$nd_n" "$nd_x"
done
set +f
IFS=$nd_i
fi
printf '@%s end %s\n' "$nd_n" "$1"
}
# KIND NAME CMD ARGS... The command substitution takes stderr, the descriptor beside it carries stdout past it.
nd_run() {
nd_begin "$1" "$2"
shift 2
{ nd_e=$("$@" 2>&1 >&3 3>&-); } 3>&1
nd_r=$?
case $nd_r-$1-$nd_e in 0-*) ;; *-sudo-sudo:*) nd_e="needs root: $nd_e" ;; esac
nd_end "$nd_r" "$nd_e"
return "$nd_r"
}
nd_cmd() {
nd_x=$*
nd_x=${nd_x#sudo -n }
nd_run cmd "${nd_x#nd_no_root }" "$@"
}
nd_cmd_as() {
nd_x=$1
shift
nd_run cmd "$nd_x" "$@"
}
nd_file() { for nd_f; do nd_run file "$nd_f" cat -- "$nd_f"; done; }
nd_grep() { nd_run grep files grep -aH '' -- "$@"; }
nd_text() {
nd_begin text "$1"
printf %s "$2"
nd_end 0 ''
}
