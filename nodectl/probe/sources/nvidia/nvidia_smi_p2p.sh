# source: nvidia_smi_p2p
# about: which GPUs may read each other's memory (nvidia-smi topo -p2p r)
# by_hand: nvidia-smi topo -p2p r
# timeout: 45
# lane: slow
# root: no
nd_cmd_as 'nvidia-smi topo -p2p r' timeout -k 1 40 nvidia-smi topo -p2p r
