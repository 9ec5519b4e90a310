# source: nvidia_fabric
# about: how Fabric Manager is set up, and the state of IMEX (memory shared between the trays of an NVL72)
# by_hand: grep FABRIC_MODE /usr/share/nvidia/nvswitch/fabricmanager.cfg; nvidia-imex-ctl -q; ls /dev/nvidia-caps-imex-channels
# timeout: 15
# lane: slow
# root: no
[ -d /proc/self ] || nd_text 'not mounted' /proc
if [ -e /usr/share/nvidia/nvswitch/fabricmanager.cfg ]; then
  # Only the settings: the file is mostly comments.
  nd_cmd_as 'fabricmanager.cfg' grep -E '^[A-Z_]+=' /usr/share/nvidia/nvswitch/fabricmanager.cfg
else
  nd_text 'fabricmanager.cfg' 'not found'
fi
nf_imex=
for nf_file in /etc/nvidia-imex/nodes_config.cfg /etc/nvidia-imex/config.cfg; do [ -e "$nf_file" ] && nf_imex=$nf_file; done
if [ -n "$nf_imex" ] || nd_have nvidia-imex; then
  nd_text imex found
  nd_file /etc/nvidia-imex/nodes_config.cfg
  if nd_have nvidia-imex-ctl; then nd_cmd_as 'nvidia-imex-ctl -q' timeout -k 1 8 nvidia-imex-ctl -q; fi
else
  nd_text imex 'not found'
fi
nf_channels() {
  nf_count=0
  for nf_file in /dev/nvidia-caps-imex-channels/channel[0-9]*; do [ -e "$nf_file" ] && nf_count=$((nf_count + 1)); done
  echo "$nf_count"
}
if [ -d /dev/nvidia-caps-imex-channels ]; then
  nd_cmd_as 'imex channels' nf_channels
else
  nd_text 'imex channels' 'not found'
fi
