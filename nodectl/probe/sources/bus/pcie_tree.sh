# source: pcie_tree
# about: the way from the root to each GPU, RDMA NIC and NVMe drive: links, IOMMU groups, PCIe settings
# by_hand: lspci -tv; lspci -vvv (as root)
# timeout: 20
# lane: slow
# root: helps

# The devices that matter. Of network adapters those of Mellanox, and any that can do RDMA.
pt_kinds=
pt_dirs=
pt_names=
for pt_dir in /sys/bus/pci/devices/*; do
  read -r pt_class 2>/dev/null <"$pt_dir/class" || continue
  case $pt_class in 0x0108* | 0x02* | 0x030[02]* | 0x0380* | 0x0680* | 0x1200*) ;; *) continue ;; esac
  read -r pt_vendor 2>/dev/null <"$pt_dir/vendor" || continue
  case $pt_vendor-$pt_class in
  0x10de-0x030[02]* | 0x1002-0x0302* | 0x1002-0x0380* | *-0x1200* | 0x8086-0x0380*) pt_kind=gpu ;;
  0x10de-0x0680*) pt_kind=nvswitch ;;
  *-0x0108*) pt_kind=nvme ;;
  0x15b3-0x02*) pt_kind=nic ;;
  *-0x02*) if [ -d "$pt_dir/infiniband" ]; then pt_kind=nic; else continue; fi ;;
  *) continue ;;
  esac
  [ -e "$pt_dir/physfn" ] && continue
  pt_kinds="$pt_kinds ${pt_dir##*/}=$pt_kind"
  pt_dirs="$pt_dirs $pt_dir"
  for pt_name in "$pt_dir"/infiniband/* "$pt_dir"/nvme/nvme*; do
    [ -e "$pt_name" ] && pt_names="$pt_names ${pt_dir##*/}=${pt_name##*/}"
  done
done

nd_cmd ls -d /sys/bus/pci/devices
nd_text devices "$pt_kinds"
nd_text names "$pt_names"

# PCI addresses from the root to each device: ../../../devices/pci0000:15/0000:15:01.0/0000:16:00.0.
# shellcheck disable=SC2012 # PCI addresses
pt_targets() { ls -ld "$@" | sed -n 's|.* -> ||p'; }
# The IOMMU group of each device: ADDRESS GROUP.
# shellcheck disable=SC2012
pt_groups() { ls -ld "$@" | sed -n 's|.*/devices/\([^/]*\)/iommu_group -> .*/\([0-9]*\)$|\1 \2|p'; }

# The PCIe registers of each device, out of its configuration space: all of its 4096 bytes for root, the first 64 for
# others. The names of the devices come as one word. Offsets: PCI Express Base Specification, chapter 7.
# shellcheck disable=SC2016 # a program for awk
pt_config='
  function word(at) { return b[at] + 256 * b[at + 1] }
  function long(at) { return word(at) + 65536 * word(at + 2) }
  function extended(   at, id, i, steps, bars) {
    for (at = 256; at >= 256 && at < 4092 && steps < 100; steps++) {
      id = word(at)
      if (id == 0 || id == 65535) return
      if (id == 13) printf " acs=%.0f,%.0f", word(at + 4), word(at + 6)
      if (id == 15) printf " ats=%.0f", word(at + 6)
      if (id == 21) {
        bars = int(b[at + 8] / 32)
        for (i = 0; i < bars && i < 6; i++) printf " rebar=%.0f,%.0f", long(at + 4 + 8 * i), long(at + 8 + 8 * i)
      }
      at = int(word(at + 2) / 16)
    }
  }
  function device(name,   at, steps) {
    printf "%s vendor=%.0f", name, word(0)
    if (word(0) != 65535 && size == 4096) {
      if (int(b[6] / 16) % 2)
        for (at = b[52]; at >= 64 && at < 216 && steps < 48; at = b[at + 1]) {
          steps++
          if (b[at] == 16)
            printf " pcie=%.0f,%.0f,%.0f,%.0f,%.0f,%.0f", word(at + 2), long(at + 4), word(at + 8), long(at + 12),
              long(at + 36), word(at + 40)
        }
      extended()
    }
    printf "\n"
  }
  { for (i = 1; i <= NF; i++) { b[n++] = $i; if (n == size) { device(listed[++done]); n = 0 } } }
  BEGIN { count = split(names, listed, " ") }
  END { exit !(n == 0 && done == count) }'

if [ -n "$pt_dirs" ]; then
  # shellcheck disable=SC2086 # lists of paths without blanks
  pt_ways=$(pt_targets $pt_dirs)
  nd_text ways "$pt_ways"
  pt_all=$(printf '%s\n' "$pt_ways" | tr / '\n' | grep -E '^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$' | sort -u)
  pt_uevents=
  pt_files=
  pt_links=
  pt_spaces=
  pt_full=
  for pt_name in $pt_all; do
    pt_dir=/sys/bus/pci/devices/$pt_name
    pt_uevents="$pt_uevents $pt_name/uevent"
    pt_files="$pt_files $pt_name/current_link_speed $pt_name/max_link_speed"
    pt_files="$pt_files $pt_name/current_link_width $pt_name/max_link_width"
    case $pt_kinds in *" $pt_name="*) pt_files="$pt_files $pt_name/numa_node" ;; esac
    case $pt_kinds in *" $pt_name=gpu"*) pt_files="$pt_files $pt_name/resource" ;; esac
    [ -e "$pt_dir/iommu_group" ] && pt_links="$pt_links $pt_dir/iommu_group"
    pt_spaces="$pt_spaces $pt_dir/config"
  done
  # Paths are relative and only what is wanted of each file is sent: there may be a hundred bridges.
  pt_lines() (cd /sys/bus/pci/devices && grep -aHE "$@")
  # shellcheck disable=SC2086
  nd_cmd_as uevents pt_lines '^(DRIVER|PCI_CLASS|PCI_ID)=' $pt_uevents
  # shellcheck disable=SC2086
  nd_cmd_as files pt_lines '' $pt_files
  if [ -n "$pt_links" ]; then
    # shellcheck disable=SC2086
    pt_found=$(pt_groups $pt_links)
    nd_text 'iommu groups' "$pt_found"
    pt_files=$(printf '%s\n' "$pt_found" | sed -n 's|.* \([0-9]*\)$|/sys/kernel/iommu_groups/\1/type|p' | sort -u)
    # shellcheck disable=SC2086
    nd_grep $pt_files
  fi
  if nd_have od && nd_have awk; then
    # A conventional PCI bridge has 256 bytes only, and would put all that follow it out of step.
    # shellcheck disable=SC2012,SC2086 # names are PCI addresses
    pt_full=$(ls -ln $pt_spaces | awk '$5 == 4096 { sub(/.*\/devices\//, ""); sub(/\/config.*/, ""); print }')
    pt_spaces=
    for pt_name in $pt_full; do pt_spaces="$pt_spaces /sys/bus/pci/devices/$pt_name/config"; done
    # shellcheck disable=SC2086
    pt_header() { cat $pt_spaces | od -An -v -tu1 | awk -v "names=$(echo $pt_full)" -v size=64 "$pt_config"; }
    # shellcheck disable=SC2086
    pt_space() { $ND_SUDO cat $pt_spaces | od -An -v -tu1 | awk -v "names=$(echo $pt_full)" -v size=4096 "$pt_config"; }
    if [ -n "$pt_full" ]; then
      nd_cmd_as 'configuration space' pt_space
      [ "$ND_SUDO" = '' ] || nd_cmd_as 'configuration header' pt_header
    fi
  fi
fi
