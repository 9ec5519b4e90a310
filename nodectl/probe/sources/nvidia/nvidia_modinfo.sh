# source: nvidia_modinfo
# about: the NVIDIA kernel module on disk, which the next boot will load
# by_hand: modinfo nvidia
# timeout: 10
# lane: fast
# root: no

# Parameters are most of what modinfo prints and are not needed.
nv_modinfo() {
  nv_out=$(modinfo nvidia) || return
  printf '%s\n' "$nv_out" | grep -E '^(filename|version|license|vermagic|firmware|srcversion):'
}

nd_cmd_as 'modinfo nvidia' nv_modinfo
