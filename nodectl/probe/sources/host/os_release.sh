# source: os_release
# about: which distribution and release this is, and whether its root is an image
# by_hand: cat /etc/os-release
# timeout: 5
# lane: fast
# root: no
if [ -e /etc/os-release ]; then
    nd_file /etc/os-release
else
    nd_file /usr/lib/os-release
fi
[ -d /proc/self ] || nd_text 'not mounted' /proc
if [ -e /run/ostree-booted ]; then nd_text ostree yes; else nd_text ostree no; fi
