# source: lustre
# about: the Lustre client: version, health, networks, connections to its servers
# by_hand: cat /sys/fs/lustre/health_check; lctl list_nids; lctl get_param 'mdc.*.state' 'osc.*.state'
# timeout: 15
# lane: slow
# root: helps
# lctl get_param shows what the client knows: it sends nothing to a server (as lfs check and lfs df would).
lu_dir=
for lu_place in /sys/fs/lustre /proc/fs/lustre; do
    if [ -z "$lu_dir" ] && [ -e "$lu_place/version" ]; then lu_dir=$lu_place; fi
done
[ -d /proc/self ] || nd_text 'not mounted' /proc
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
if [ -z "$lu_dir" ]; then
    nd_text 'no client' 'the Lustre modules are not loaded'
    exit 0
fi
nd_file "$lu_dir/version" "$lu_dir/health_check"
lu_param() {
    { $ND_SUDO lctl get_param "$2" "$3"; echo "nd_rc $?"; } | grep -aE "$1"
}
nd_cmd_as 'lctl list_nids' $ND_SUDO lctl list_nids
nd_cmd_as 'lctl get_param state' lu_param '^nd_rc|state=|current_state|EVICTED' 'mdc.*.state' 'osc.*.state'
nd_cmd_as 'lctl get_param import' lu_param '^nd_rc|import=|target_version' 'mdc.*.import' 'mgc.*.import'
