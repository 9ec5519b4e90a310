# source: nvidia_smi_topo
# about: how GPUs, NICs and CPUs are connected (nvidia-smi topo -m)
# by_hand: nvidia-smi topo -m
# timeout: 45
# lane: slow
# root: no
nd_cmd_as 'nvidia-smi topo -m' timeout -k 1 40 nvidia-smi topo -m
