# source: nic_irqs
# about: on how many CPUs the interrupts of each NVIDIA network adapter arrive
# by_hand: grep . /proc/irq/*/effective_affinity_list; cat /proc/interrupts
# timeout: 10
# lane: slow
# root: no
[ -d /proc/irq ] || nd_text 'not mounted' /proc
nd_cmd ls -d /sys/bus/pci/devices
# "COUNT CPUS" for each adapter: a thousand small files become a few lines.
ni_counts() { cat "$@" | sort | uniq -c; }
for ni_dir in /sys/bus/pci/devices/*; do
    read -r ni_vendor 2>/dev/null <"$ni_dir/vendor" || continue
    [ "$ni_vendor" = 0x15b3 ] || continue
    read -r ni_class 2>/dev/null <"$ni_dir/class" || continue
    case $ni_class in 0x02*) ;; *) continue ;; esac
    [ -e "$ni_dir/physfn" ] && continue
    set --
    for ni_irq in "$ni_dir"/msi_irqs/*; do
        ni_file=/proc/irq/${ni_irq##*/}/effective_affinity_list
        [ -r "$ni_file" ] && set -- "$@" "$ni_file"
    done
    [ $# -eq 0 ] || nd_cmd_as "interrupts of ${ni_dir##*/}" ni_counts "$@"
done
