# source: nvidia_smi_nvlink
# about: state, speed and error counters of every NVLink
# by_hand: nvidia-smi nvlink -s; nvidia-smi nvlink -e
# timeout: 45
# lane: slow
# root: no
nd_cmd_as 'nvidia-smi nvlink -s' timeout -k 1 20 nvidia-smi nvlink -s
nd_cmd_as 'nvidia-smi nvlink -e' timeout -k 1 20 nvidia-smi nvlink -e
