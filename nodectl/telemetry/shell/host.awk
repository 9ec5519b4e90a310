# The host's own fields from /proc, and what the sampler itself uses.
function cpu(  l, a, n, i, all, idle) {
n = split(first(root "/proc/stat"), a, " ")
if (a[1] != "cpu" || n < 5) return ""
for (i = 2; i <= n && i <= 9; i++) all += a[i]
idle = a[5] + a[6]
l = ""
if (cpu_all != "" && all > cpu_all) l = fixed(100 * (1 - (idle - cpu_idle) / (all - cpu_all)))
cpu_all = all
cpu_idle = idle
return l == "" ? "" : l < 0 ? 0 : l
}
function memory(  f, l, a, free) {
f = root "/proc/meminfo"
mem_total = free = 0
while ((getline l < f) > 0) {
split(l, a, " ")
if (a[1] == "MemTotal:") mem_total = a[2]
if (a[1] == "MemAvailable:") { free = a[2]; break }
}
close(f)
return mem_total > 0 && free > 0 ? fixed(100 * (1 - free / mem_total)) : ""
}
function net(  f, l, a, rx, tx, seen) {
f = root "/proc/net/dev"
while ((getline l < f) > 0) {
sub(/:/, " ", l)
split(l, a, " ")
if (!(a[1] in nic)) continue
seen = 1
rx += a[2]
tx += a[10]
}
close(f)
H["net_tx_mib_s"] = seen ? rate("tx", tx, 1 / 1048576, up) : ""
H["net_rx_mib_s"] = seen ? rate("rx", rx, 1 / 1048576, up) : ""
}
function disk(  f, l, a, r, w, seen) {
f = root "/proc/diskstats"
while ((getline l < f) > 0) {
split(l, a, " ")
if (!(a[3] in disks)) continue
seen = 1
r += a[6]
w += a[10]
}
close(f)
H["disk_read_mib_s"] = seen ? rate("read", r, 1 / 2048, up) : ""
H["disk_write_mib_s"] = seen ? rate("write", w, 1 / 2048, up) : ""
}
function host(  a, i, o) {
H["cpu_util_pct"] = cpu()
H["memory_used_pct"] = memory()
split(first(root "/proc/loadavg"), a, " ")
H["load1"] = num(a[1])
net()
disk()
o = ""
for (i = 1; i <= nhost; i++) o = o (i > 1 ? "," : "") known(H[hostname_of[i]])
return "[" o "]"
}
# What the sampler's processes use, of one core; those that were waited for count with who waited.
function own_cpu(  p, l, a, sum) {
pids["self"]
for (p in pids) {
l = first("/proc/" p "/stat")
sub(/^.*\) /, "", l)
if (split(l, a, " ") < 15) { delete pids[p]; continue }
sum += a[12] + a[13] + a[14] + a[15]
}
return rate("own", sum, 100 / hz, up)
}
