# source: kernels
# about: kernels on disk with the NVIDIA module and DKMS builds of each, and marks of a reboot that is due
# by_hand: ls /boot /lib/modules; dkms status; ls /run/reboot-required*; needs-restarting -r
# timeout: 10
# lane: slow
# root: no
# A folder of /lib/modules belongs to an installed kernel when there is an image of that name.
kn_folders() {
    for kn_dir in /lib/modules/*; do
        [ -d "$kn_dir" ] || continue
        kn_name=${kn_dir##*/} kn_marks=
        for kn_image in vmlinuz vmlinux Image kernel; do
            [ -e "/boot/$kn_image-$kn_name" ] && kn_marks=" image"
        done
        [ -e "$kn_dir/vmlinuz" ] && kn_marks=" image"
        [ -s "$kn_dir/modules.dep" ] && kn_marks="$kn_marks modules"
        [ -e "$kn_dir/build/Makefile" ] && kn_marks="$kn_marks headers"
        printf '%s%s\n' "$kn_name" "$kn_marks"
    done
    echo "nd_running $(uname -r)"
}
nd_cmd_as 'kernels on disk' kn_folders
# What modprobe would load, by the index that it reads.
kn_nvidia() {
    for kn_dep in /lib/modules/*/modules.dep; do
        [ -e "$kn_dep" ] && grep -aHoE '^([^:]*/)?nvidia\.ko[^:]*:' "$kn_dep"
    done
    echo nd_end
}
nd_cmd_as 'nvidia modules on disk' kn_nvidia
# `dkms status` takes a second; its tree says the same: source (added), module (built), kernel-* link (installed).
kn_dkms() {
    for kn_path in /var/lib/dkms/*/*/source /var/lib/dkms/*/*/*/*/module /var/lib/dkms/*/kernel-*; do
        kn_rest=${kn_path#/var/lib/dkms/}
        case $kn_path in
        */source) if [ -e "$kn_path" ] || [ -h "$kn_path" ]; then echo "added ${kn_rest%/source}"; fi ;;
        */module) [ -d "$kn_path" ] && echo "built ${kn_rest%/module}" ;;
        *) [ -h "$kn_path" ] && echo "installed ${kn_rest%%/*}/$(readlink "$kn_path")" ;;
        esac
    done
    echo nd_end
}
if [ -d /var/lib/dkms ]; then nd_cmd_as 'dkms tree' kn_dkms; else nd_text 'dkms tree' none; fi
# Packages of Debian and libzypp leave a mark; the updater of Flatcar is asked.
kn_marks() {
    for kn_mark in /run/reboot-required /run/reboot-needed; do [ -e "$kn_mark" ] && echo "$kn_mark"; done
    echo nd_end
}
nd_cmd_as 'marks of the last update' kn_marks
[ -e /run/reboot-required.pkgs ] && nd_file /run/reboot-required.pkgs
nd_cmd_as btime grep '^btime ' /proc/stat
# The packages that `needs-restarting -r` looks at, and when they were installed. (dnf itself would write logs.)
if [ -s /var/lib/dpkg/status ]; then
    nd_text 'package manager' dpkg
elif nd_have update_engine_client; then
    nd_cmd_as 'update_engine_client -status' timeout -k 1 4 update_engine_client -status
elif nd_have rpm; then
    nd_cmd_as 'rpm install times' rpm -q --qf '%{NAME} %{INSTALLTIME}\n' rpm kernel kernel-core kernel-rt kernel-rt-core \
        kernel-64k-core kernel-uek-core kernel-default kernel-firmware glibc linux-firmware microcode_ctl systemd dbus \
        dbus-broker dbus-daemon
fi
