# source: edac
# about: memory controllers and modules with their counts of corrected and uncorrected errors
# by_hand: grep . /sys/devices/system/edac/mc/mc*/*_count /sys/devices/system/edac/mc/mc*/dimm*/dimm_*
# timeout: 5
# lane: fast
# root: no
[ -d /sys/kernel ] || nd_text 'not mounted' /sys
ed_mc=
for ed_dir in /sys/devices/system/edac/mc/mc[0-9]*; do [ -d "$ed_dir" ] && ed_mc=yes; done
if [ -z "$ed_mc" ]; then
    nd_text 'memory controllers' none
else
    # One read of each kind of file; kernels name the modules in one of two ways, so that some globs match nothing.
    ed_read() { grep -aH '' -- "$@" 2>/dev/null; }
    cd /sys/devices/system/edac/mc &&
        nd_cmd_as 'mc counts' ed_read mc[0-9]*/mc_name mc[0-9]*/size_mb mc[0-9]*/[cu]e_count mc[0-9]*/[cu]e_noinfo_count
    nd_cmd_as 'dimm counts' ed_read mc[0-9]*/dimm[0-9]*/dimm_label mc[0-9]*/dimm[0-9]*/dimm_location \
        mc[0-9]*/dimm[0-9]*/size mc[0-9]*/dimm[0-9]*/dimm_mem_type mc[0-9]*/dimm[0-9]*/dimm_[cu]e_count
    nd_cmd_as 'csrow counts' ed_read mc[0-9]*/csrow[0-9]*/ch[0-9]*_dimm_label mc[0-9]*/csrow[0-9]*/ch[0-9]*_ce_count \
        mc[0-9]*/csrow[0-9]*/[cu]e_count
fi
