# source: platform
# about: virtual machine or bare metal, container, maker of the machine, IOMMU groups, clock source
# by_hand: systemd-detect-virt; ls /sys/kernel/iommu_groups; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
# timeout: 10
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
[ -d /proc/self ] || nd_text 'not mounted' /proc
nd_cmd systemd-detect-virt --vm
nd_cmd systemd-detect-virt --container
nd_cmd_as 'first CPU of /proc/cpuinfo' sed '/^$/q' /proc/cpuinfo
nd_grep /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name /sys/class/dmi/id/bios_version \
    /sys/class/dmi/id/bios_date /sys/hypervisor/type
nd_grep /sys/devices/system/clocksource/clocksource0/current_clocksource
for pf_file in /.dockerenv /run/.containerenv; do
    [ -e "$pf_file" ] && nd_text 'container file' "$pf_file"
done
nd_cmd ls /sys/kernel/iommu_groups
# "COUNT TYPE": `identity` is pass-through, `DMA` and `DMA-FQ` are translated.
pf_types() { cat /sys/kernel/iommu_groups/*/type | sort | uniq -c; }
nd_cmd_as 'iommu group types' pf_types
