# shellcheck shell=sh disable=SC2154,SC2153,SC2086,SC2034,SC2015 # see sample.sh, whose functions and variables these share
# The amdgpu driver's files, as lines for awk.

# CARD NUMBER BUS: the card's static values to awk, its files to nd_fast and nd_slow as GPU=KEY=PATH.
nd_amd_card() {
nd_d=$1 nd_i=$2 nd_name=''
read -r nd_name <"$nd_d/product_name"
[ -n "$nd_name" ] || { read -r nd_x <"$nd_d/device" && nd_name="AMD GPU $nd_x"; }
nd_uuid=''
read -r nd_uuid nd_x <"$nd_d/unique_id"
nd_number "$nd_d/mem_info_vram_total" || nd_v=
printf '@a %s\t%s\t%s\t%s\t%s\n' "$nd_i" "$3" "$nd_uuid" "$nd_v" "$nd_name"
for nd_f in util=gpu_busy_percent memutil=mem_busy_percent used=mem_info_vram_used; do
[ -r "$nd_d/${nd_f#*=}" ] && nd_fast="$nd_fast $nd_i=${nd_f%%=*}=$nd_d/${nd_f#*=}"
done
for nd_f in replays=pcie_replay_count gen=current_link_speed width=current_link_width; do
[ -r "$nd_d/${nd_f#*=}" ] && nd_slow="$nd_slow $nd_i=${nd_f%%=*}=$nd_d/${nd_f#*=}"
done
for nd_f in "$nd_d"/ras/*_err_count; do
[ -r "$nd_f" ] && nd_slow="$nd_slow $nd_i=ras=$nd_f"
done
nd_clocks=''
for nd_h in "$nd_d"/hwmon/hwmon[0-9]*; do
for nd_f in power=power1_average power=power1_input; do
[ -r "$nd_h/${nd_f#*=}" ] && nd_fast="$nd_fast $nd_i=power=$nd_h/${nd_f#*=}" && break
done
for nd_f in cap=power1_cap energy=energy1_input; do
[ -r "$nd_h/${nd_f#*=}" ] && nd_slow="$nd_slow $nd_i=${nd_f%%=*}=$nd_h/${nd_f#*=}"
done
for nd_f in "$nd_h"/temp[0-9]*_input; do
nd_x=edge
read -r nd_x nd_y <"${nd_f%_input}_label"
[ -r "$nd_f" ] || continue
nd_fast="$nd_fast $nd_i=t_$nd_x=$nd_f"
[ -r "${nd_f%_input}_crit" ] && nd_slow="$nd_slow $nd_i=c_$nd_x=${nd_f%_input}_crit"
done
for nd_f in "$nd_h"/freq[0-9]*_label; do
read -r nd_x nd_y <"$nd_f" && [ -r "${nd_f%_label}_input" ] || continue
nd_fast="$nd_fast $nd_i=$nd_x=${nd_f%_label}_input" nd_clocks="$nd_clocks $nd_x"
done
done
for nd_x in sclk mclk; do
case $nd_clocks in *$nd_x*) continue ;; esac
[ -r "$nd_d/pp_dpm_$nd_x" ] && nd_fast="$nd_fast $nd_i=dpm_$nd_x=$nd_d/pp_dpm_$nd_x"
done
}

nd_amd_find() {
nd_fast='' nd_slow='' nd_i=0 nd_ticks=0
for nd_x in $(for nd_c in "$ND_ROOT"/sys/class/drm/card[0-9]*; do
case ${nd_c##*/} in *-*) continue ;; esac
read -r nd_v <"$nd_c/device/vendor" && [ "$nd_v" = 0x1002 ] && [ -e "$nd_c/device/mem_info_vram_total" ] || continue
nd_b=''
while read -r nd_l; do
case $nd_l in PCI_SLOT_NAME=*) nd_b=${nd_l#*=} ;; esac
done <"$nd_c/device/uevent"
printf '%s=%s\n' "${nd_b:-${nd_c##*/}}" "$nd_c/device"
done | sort); do
nd_amd_card "${nd_x#*=}" "$nd_i" "${nd_x%%=*}"
nd_i=$((nd_i + 1))
done
}

# All values in one line: GPU=KEY=VALUE...
nd_amd_read() {
nd_list=$nd_fast
[ $((nd_ticks % ND_SLOW_TICKS)) -ne 0 ] || nd_list="$nd_fast $nd_slow"
nd_ticks=$((nd_ticks + 1))
nd_out=@g
for nd_w in $nd_list; do
nd_i=${nd_w%%=*} nd_k=${nd_w#*=}
nd_f=${nd_k#*=} nd_k=${nd_k%%=*}
case $nd_k in
dpm_*)
while read -r nd_x nd_v nd_y; do
case $nd_y in *\**) nd_out="$nd_out $nd_i=$nd_k=$nd_v" ;; esac
done <"$nd_f"
;;
ras)
while read -r nd_x nd_v nd_y; do nd_out="$nd_out $nd_i=$nd_x=$nd_v"; done <"$nd_f"
;;
*) read -r nd_v nd_x <"$nd_f" && nd_out="$nd_out $nd_i=$nd_k=$nd_v" ;;
esac
done
printf '%s\n' "$nd_out"
[ "$nd_ticks" -gt 1 ] || echo @h
}
