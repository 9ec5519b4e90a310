# source: nvidia_proc
# about: the loaded NVIDIA kernel module: version, open or proprietary, parameters, GPUs it has taken
# by_hand: cat /proc/driver/nvidia/version /proc/driver/nvidia/params
# timeout: 10
# lane: slow
# root: no
nd_file /proc/driver/nvidia/version /sys/module/nvidia/version /proc/driver/nvidia/params
nd_cmd ls -1 /proc/driver/nvidia/gpus
# With no module loaded, the one that would be loaded tells the flavor.
[ -r /proc/driver/nvidia/version ] || nd_cmd modinfo -F license nvidia
