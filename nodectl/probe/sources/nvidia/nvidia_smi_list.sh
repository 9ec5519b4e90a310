# source: nvidia_smi_list
# about: the MIG devices of every GPU, by profile
# by_hand: nvidia-smi -L
# timeout: 30
# lane: slow
# root: no
nd_cmd_as 'nvidia-smi -L' timeout -k 1 25 nvidia-smi -L
