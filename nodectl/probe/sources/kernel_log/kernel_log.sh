# source: kernel_log
# about: kernel messages since boot about GPUs, NVSwitches, PCIe, memory, disks, NICs and stuck tasks
# by_hand: dmesg -T, or journalctl -k -b
# timeout: 25
# lane: slow
# root: helps

# A user in the right group reads the log without root, so no sudo means "try as you are".
kl_as=$ND_SUDO
[ "$kl_as" = nd_no_root ] && kl_as=

kl_words='^nd_rc |NVRM|Xid|nvidia-nvswitch|nvidia-nvlink|nvidia-peermem|nvidia_peermem|nvidia [0-9a-f:.]+: resett?|vfio-pci .*reset done'
kl_words=$kl_words'|PCIe Bus Error|AER: .*(failed|fatal)|DPC: |Hardware Error|[Mm]achine [Cc]heck|mce: .*(rror|threshold)|EDAC .* (CE|UE)'
kl_words=$kl_words'|mlx5.*([Ee]rror|ERROR|fail|imeout|imed out|nsufficient|ompromised|atal|nrecover|emperature|limited by|[Ss]yndrome|leak)'
kl_words=$kl_words'|NETDEV WATCHDOG|nvme.*(timeout|rror|fail|down|abort|Disabling|not ready|no available path)|I/O error|medium error'
kl_words=$kl_words'|[Rr]emount.* read-only|EXT4-fs error|XFS .*([Cc]orrupt|hutting down|rror)|Disk failure|Out of memory|out of memory|Killed process'
kl_words=$kl_words'|blocked for more than|soft lockup|hard LOCKUP|detected stall|Kernel panic|Oops|BUG: |general protection'
kl_words=$kl_words'|segfault at .* in lib(nccl|cuda|nvidia)|table full|table overflow|nfs: server .*(not responding| OK)|Lustre.*(LBUG|evicted by|was lost; in progress)|file-max limit|messages? (were )?lost'

# Folds repeated messages on the node, so that a log of 800,000 equal lines is one line of reply. Each line out is
# COUNT <tab> TIME OF THE LAST <tab> FIRST LINE. Xids are folded by the hour, so that it stays visible how often one came
# back, and never across a driver load or device reset. GPU messages have room of their own: no flood drops an Xid.
kl_fold() {
    grep -E "$kl_words" | awk '
    /^nd_rc / { rc = $2; next }
    {
        if (substr($0, 1, 1) == "[") {
            i = index($0, "]"); stamp = substr($0, 2, i - 2); text = substr($0, i + 2)
            sub(/^ +/, "", stamp)
        } else {
            i = index($0, " "); stamp = substr($0, 1, i - 1); text = substr($0, i + 1)
            i = index(text, " "); text = substr(text, i + 1)
        }
        text = substr(text, 1, 300)
        if (text ~ /loading NVIDIA UNIX|\(None\)$|reset done|: resetting/) epoch++
        if (text in known) key = known[text]
        else {
            key = text
            # The registers of NVLink 5 errors say what each asks for.
            if (key !~ /Xid \([^)]*\): 1(4[4-9]|50), /) gsub(/0x[0-9a-fA-F]+/, "#", key)
            gsub(/pid[ =][0-9]+/, "pid#", key)
            gsub(/[0-9][0-9][0-9][0-9][0-9]+/, "#", key)
            if (nknown < 20000) { known[text] = key; nknown++ }
        }
        xid = text ~ /Xid \(/
        if (xid) key = epoch " " int(stamp / 3600) " " key
        if (!(key in count)) {
            gpu = xid || text ~ /NVRM|nvidia/
            if (bytes > 900000 || (gpu ? gpus >= 3000 : others >= 1000)) {
                if (!match(text, /Xid \([^)]*\): [0-9]+/)) { dropped++; next }
                key = epoch " " substr(text, RSTART, RLENGTH)
                if (!(key in count) && coarse++ >= 500) { dropped++; next }
            }
        }
        if (key in count) { count[key]++; last[key] = stamp; next }
        if (gpu) gpus++; else others++
        order[++n] = key; count[key] = 1; last[key] = stamp; first[key] = substr($0, 1, 400)
        bytes += length(first[key]) + 30
    }
    END {
        for (i = 1; i <= n; i++) print count[order[i]] "\t" last[order[i]] "\t" first[order[i]]
        print "nd_dropped " dropped + 0
        exit rc
    }'
}

# A slow reader ends early enough for the other one to have its turn.
kl_read() {
    if nd_have timeout; then $kl_as timeout 10 "$@"; else $kl_as "$@"; fi
}

# The status of the reader goes through the pipe as the last line.
kl_journal() { { kl_read journalctl -q -k -b -o short-unix --no-pager; echo "nd_rc $?"; } | kl_fold; }
kl_dmesg() { { kl_read dmesg; echo "nd_rc $?"; } | kl_fold; }

nd_file /proc/uptime
nd_cmd_as btime grep '^btime ' /proc/stat
# The probe itself runs in UTC.
nd_cmd_as 'date +%z' env -u TZ date +%z

# The very first line tells whether a log reaches back to boot. The journal has the better times and outlives the
# kernel's buffer; the buffer costs next to nothing and is there when the journal is not, is cut short or is too slow.
kl_first=
nd_have journalctl && kl_first=$(kl_read journalctl -q -k -b -o short-unix --no-pager 2>/dev/null | head -n 1)
case $kl_first in
[0-9]*)
    nd_text 'first line of the journal' "$kl_first"
    nd_cmd_as 'journalctl -k -b -o short-unix' kl_journal
    ;;
esac
nd_text 'first line of dmesg' "$(kl_read dmesg 2>/dev/null | head -n 1)"
nd_cmd_as dmesg kl_dmesg

# Fabric Manager names NVSwitch faults in a log of its own; it outlives the kernel's buffer.
if [ -r /var/log/fabricmanager.log ]; then
    nd_cmd_as 'fabricmanager.log' sh -c 'grep -E "NVSwitch .*error [0-9]+" /var/log/fabricmanager.log | tail -n 200'
fi
