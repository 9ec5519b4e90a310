# source: packages
# about: installed versions of the packages that checks name
# by_hand: dpkg -l '{key}', or rpm -qa '{key}'
# timeout: 20
# lane: slow
# root: no
# args: package
# The package manager's own package is asked for, too: when its database does not even know that one, "not installed"
# means nothing.
if nd_have dpkg-query && [ -s /var/lib/dpkg/status ]; then
    # shellcheck disable=SC2016  # dpkg-query expands these itself
    nd_cmd_as dpkg-query dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n' dpkg "$@"
elif nd_have rpm; then
    nd_cmd_as 'rpm -qa' rpm -qa --qf '%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n' rpm "$@"
else
    nd_text 'no package manager' 'neither dpkg-query nor rpm'
fi
