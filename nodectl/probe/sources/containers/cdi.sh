# source: cdi
# about: CDI specs of NVIDIA devices, whether the files that they name are there, and the links in /dev/char
# by_hand: nvidia-ctk cdi list; ls -l /etc/cdi /var/run/cdi
# timeout: 15
# lane: slow
# root: helps
# A spec is YAML or JSON, made by a program: each name and path has a line of its own once commas and brackets are line
# ends. Nothing else of a spec leaves the node.
# What lies below a folder that only root may enter is neither there nor gone.
cd_state() {
    if [ -e "$1" ]; then
        echo there
        return
    fi
    cd_up=$1
    while [ -n "$cd_up" ] && [ ! -e "$cd_up" ]; do cd_up=${cd_up%/*}; done
    if [ -x "${cd_up:-/}" ]; then echo gone; else echo hidden; fi
}
cd_cat() { if [ -r "$1" ]; then cat "$1"; else $ND_SUDO cat "$1"; fi; }
cd_spec() {
    cd_cat "$1" | tr ',{}[]' '\n' | awk '
    { sub(/^[ \t]*(- )?[ \t]*/, ""); sub(/[ \t\r]+$/, "") }
    /^"?(kind|cdiVersion|name|path|hostPath)"?[ \t]*:/ {
        key = $0
        sub(/[ \t]*:.*/, "", key)
        gsub(/"/, "", key)
        val = $0
        sub(/^[^:]*:[ \t]*/, "", val)
        gsub(/^["\047]|["\047]$/, "", val)
        if (val != "" && length(val) < 500 && !seen[key, val]++) print key "\t" val
        if (++n > 20000) exit
    }
    END { print "nd_complete" }' | while IFS='	' read -r cd_key cd_val; do
        case $cd_key-$cd_val in
        path-/* | hostPath-/*) printf '%s\t%s\t%s\n' "$cd_key" "$(cd_state "$cd_val")" "$cd_val" ;;
        *) printf '%s\t\t%s\n' "$cd_key" "$cd_val" ;;
        esac
    done
}
cd_n=0
for cd_file in /etc/cdi/*.yaml /etc/cdi/*.json /var/run/cdi/*.yaml /var/run/cdi/*.json; do
    [ -e "$cd_file" ] || continue
    cd_n=$((cd_n + 1))
    [ "$cd_n" -gt 20 ] && break
    # One that cannot be read at all is sent as what it is: not read.
    if [ -r "$cd_file" ]; then grep -qi nvidia "$cd_file" 2>/dev/null || continue; fi
    nd_cmd_as "spec $cd_file" cd_spec "$cd_file"
done
nd_text specs "$cd_n"
cd_nodes() {
    for cd_file in /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/nvidia-modeset /dev/nvidia-uvm-tools; do
        [ -c "$cd_file" ] && echo "$cd_file"
    done
    return 0
}
# Where each link in /dev/char leads; NVIDIA's only. A folder with no links at all is not one that udev keeps.
cd_links() {
    # shellcheck disable=SC2012 # the names are numbers
    ls -l /dev/char | awk '{ n += sub(/.* -> /, "") } /nvidia/ { print } END { print "nd_links " n + 0 }'
}
nd_cmd_as nodes cd_nodes
[ -d /dev/char ] && nd_cmd_as /dev/char cd_links
:
