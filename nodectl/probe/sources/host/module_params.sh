# source: module_params
# about: parameters of loaded kernel modules, from sysfs
# by_hand: cat /sys/module/MODULE/parameters/PARAM
# timeout: 5
# lane: fast
# root: helps
# args: module_param
# Some parameters are for root only: those are asked again through sudo, where it is allowed.
[ -d /sys/module ] || nd_text 'not mounted' /sys
for mp_key; do
    mp_module=${mp_key%%.*}
    mp_name=${mp_key#*.}
    while :; do
        case $mp_module in *-*) mp_module=${mp_module%%-*}_${mp_module#*-} ;; *) break ;; esac
    done
    mp_path=/sys/module/$mp_module/parameters/$mp_name
    if [ -e "$mp_path" ] && [ ! -r "$mp_path" ]; then
        nd_cmd_as "$mp_path" $ND_SUDO cat -- "$mp_path"
    else
        nd_grep "$mp_path"
    fi
done
