# source: nvidia_services
# about: versions of Fabric Manager and DCGM
# by_hand: nv-fabricmanager --version; nv-hostengine --version
# timeout: 10
# lane: fast
# root: no
if nd_have nv-fabricmanager; then nd_cmd nv-fabricmanager --version; else nd_text 'nv-fabricmanager' 'not found'; fi
if nd_have nv-hostengine; then
  nd_cmd nv-hostengine --version
elif nd_have dcgmi; then
  nd_cmd dcgmi --version
else
  nd_text 'nv-hostengine' 'not found'
fi
