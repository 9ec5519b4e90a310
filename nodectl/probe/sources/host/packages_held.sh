# source: packages_held
# about: packages that are held at their version
# by_hand: apt-mark showhold, or dnf versionlock list
# timeout: 20
# lane: slow
# root: no
ph_dpkg() {
    { dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\n'; echo "nd_rc $?"; } | grep -aE '^(h|nd_rc|.i.?[[:space:]]+dpkg$)'
}
if nd_have dpkg-query && [ -s /var/lib/dpkg/status ]; then
    nd_cmd_as 'dpkg-query -W' ph_dpkg
elif nd_have rpm; then
    nd_cmd rpm -q --qf '%{NAME}' rpm
    nd_file /etc/dnf/plugins/versionlock.list /etc/yum/pluginconf.d/versionlock.list /etc/dnf/versionlock.toml /etc/zypp/locks
else
    nd_text 'no package manager' 'neither dpkg-query nor rpm'
fi
