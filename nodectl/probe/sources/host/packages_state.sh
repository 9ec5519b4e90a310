# source: packages_state
# about: packages that are installed by half, and the packages of the GPU and network drivers
# by_hand: dpkg --audit; dpkg -l | grep -E 'nvidia|mlnx', or rpm -qa | grep -E 'nvidia|mlnx'
# timeout: 20
# lane: slow
# root: no
# dpkg's third letter is R for a package that has to be installed again; states but i, n, c are half ones.
ps_words='nvidia|cuda-drivers|mlnx|mlx5|doca-ofed|doca-host|kmod-isert|ofed|libnvidia|libcuda'
ps_dpkg() {
    {
        dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\t${Version}\n'
        echo "nd_rc $?"
    } | grep -aE "^.[^inc]|^..[^ ]|^.i.?[[:space:]]+dpkg[[:space:]]|^nd_rc|^.i.*($ps_words)"
}
ps_rpm() {
    {
        rpm -qa --qf '%{NAME}\t%{VERSION}-%{RELEASE}\n'
        echo "nd_rc $?"
    } | grep -aE "^rpm[[:space:]]|^nd_rc|$ps_words"
}
if nd_have dpkg-query && [ -s /var/lib/dpkg/status ]; then
    nd_cmd_as 'dpkg-query -W' ps_dpkg
    # What an interrupted dpkg leaves: its next run must finish this first.
    nd_cmd ls /var/lib/dpkg/updates
elif nd_have rpm; then
    nd_cmd_as 'rpm -qa' ps_rpm
else
    nd_text 'no package manager' 'neither dpkg-query nor rpm'
fi
