# source: cpu_power
# about: CPU frequency governors, energy preference and idle states
# by_hand: grep . /sys/devices/system/cpu/cpu0/cpufreq/* /sys/devices/system/cpu/cpu0/cpuidle/state*/*
# timeout: 10
# lane: fast
# root: helps
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
# "CPU VALUE" for each CPU: one grep for all, and short lines, since there may be 256 of them.
cp_each() {
    grep -aH '' /sys/devices/system/cpu/cpu[0-9]*/cpufreq/"$1" | sed 's|^/sys/devices/system/cpu/cpu\([0-9]*\)/[^:]*:|\1 |'
}
nd_cmd_as scaling_governor cp_each scaling_governor
nd_cmd_as energy_performance_preference cp_each energy_performance_preference
# "COUNT STATE DISABLED": on how many CPUs each idle state is off (1) or on (0).
cp_idle() {
    grep -aH '' /sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*/disable |
        sed 's|^.*/\(state[0-9]*\)/disable:|\1 |' | sort | uniq -c
}
nd_cmd_as 'idle states' cp_idle
nd_grep /sys/devices/system/cpu/cpuidle/current_driver /sys/module/intel_idle/parameters/max_cstate
# This one is for root only.
cp_max=/sys/module/processor/parameters/max_cstate
if [ -e "$cp_max" ] && [ ! -r "$cp_max" ]; then
    nd_cmd_as "$cp_max" $ND_SUDO cat -- "$cp_max"
else
    nd_grep "$cp_max"
fi
nd_grep /sys/devices/system/cpu/cpu0/cpuidle/state[0-9]*/name /sys/devices/system/cpu/cpu0/cpuidle/state[0-9]*/latency
