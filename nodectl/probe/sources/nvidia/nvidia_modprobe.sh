# source: nvidia_modprobe
# about: options of the NVIDIA kernel modules in modprobe.d and on the kernel command line
# by_hand: modprobe -c | grep nvidia; cat /proc/cmdline
# timeout: 5
# lane: fast
# root: no
np_options() {
  for np_dir in /etc/modprobe.d /run/modprobe.d /usr/local/lib/modprobe.d /usr/lib/modprobe.d /lib/modprobe.d; do
    for np_file in "$np_dir"/*.conf; do
      [ -f "$np_file" ] || continue
      # The name counts also without an option of ours: a file in /etc hides its namesake in /usr/lib.
      printf 'file\t%s\n' "$np_file"
      grep -aE '^[[:space:]]*options[[:space:]]+nvidia([_-][a-z]+)*[[:space:]]' "$np_file" | while read -r np_line; do
        printf 'line\t%s\t%s\n' "$np_file" "$np_line"
      done
    done
  done
  return 0
}
np_cmdline() {
  np_all=$(cat /proc/cmdline) || return
  printf '%s\n' "$np_all" | tr ' ' '\n' | grep -aE '^nvidia([_-][a-z]+)*\.'
  return 0
}
nd_cmd_as 'modprobe.d' np_options
nd_cmd_as /proc/cmdline np_cmdline
