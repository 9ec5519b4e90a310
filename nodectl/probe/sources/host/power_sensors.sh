# source: power_sensors
# about: temperatures with limits (hwmon), and what the BMC says of power supplies and fans (ipmitool, where installed)
# by_hand: grep . /sys/class/hwmon/*/*_input; ipmitool chassis status (as root)
# timeout: 12
# lane: slow
# root: helps
[ -d /sys/kernel ] || nd_text 'not mounted' /sys

# CPUs, memory modules, drives and adapters only: the chips of mainboards have inputs that nothing is wired to.
ps_files=
for ps_dir in /sys/class/hwmon/hwmon*; do
  read -r ps_name 2>/dev/null <"$ps_dir/name" || continue
  case $ps_name in coretemp | k10temp | nvme | drivetemp | jc42 | spd5118 | mlx5 | mlx5*) ;; *) continue ;; esac
  ps_files="$ps_files $ps_dir/name"
  for ps_file in "$ps_dir"/temp*_crit; do
    [ -e "$ps_file" ] || continue
    ps_files="$ps_files $ps_file ${ps_file%_crit}_input"
    [ -e "${ps_file%_crit}_label" ] && ps_files="$ps_files ${ps_file%_crit}_label"
  done
done
nd_cmd ls -d /sys/class/hwmon
# shellcheck disable=SC2086 # a list of paths without blanks
[ -z "$ps_files" ] || nd_grep $ps_files

if [ ! -e /dev/ipmi0 ]; then
  nd_text bmc 'no device'
elif ! nd_have ipmitool; then
  nd_text bmc 'no ipmitool'
else
  # shellcheck disable=SC2086 # nothing, or the words of sudo
  ps_chassis() { timeout -k 1 8 $ND_SUDO ipmitool chassis status; }
  if [ "$ND_SUDO" = nd_no_root ]; then
    nd_cmd_as 'ipmitool chassis status' nd_no_root
  else
    nd_cmd_as 'ipmitool chassis status' ps_chassis
  fi
fi
