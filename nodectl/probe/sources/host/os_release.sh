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
# NVIDIA's own systems: DGX OS is an Ubuntu with this file, Jetson Linux (L4T) one with the other.
# (The serial number of a DGX stands there, too: only what is named here is read.)
if [ -e /etc/dgx-release ]; then
    nd_cmd_as /etc/dgx-release grep -aE '^DGX_(NAME|PRETTY_NAME|SWBUILD_VERSION|OTA_VERSION|PLATFORM)=' /etc/dgx-release
else
    nd_text /etc/dgx-release none
fi
if [ -e /etc/nv_tegra_release ]; then
    nd_cmd_as /etc/nv_tegra_release head -n 1 /etc/nv_tegra_release
else
    nd_text /etc/nv_tegra_release none
fi
[ -d /proc/self ] || nd_text 'not mounted' /proc
if [ -e /run/ostree-booted ]; then nd_text ostree yes; else nd_text ostree no; fi
