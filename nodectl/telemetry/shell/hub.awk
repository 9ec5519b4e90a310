# Makes the lines of the stream from what sample.sh sends. For mawk, gawk, busybox' awk and the original one.
function js(s,  i, c, o) {
gsub(/[^ -~]/, "?", s)
if (length(s) > 300) s = substr(s, 1, 300)
if (s !~ /["\\]/) return "\"" s "\""
o = ""
for (i = 1; i <= length(s); i++) {
c = substr(s, i, 1)
o = o (c == "\"" || c == "\\" ? "\\" c : c)
}
return "\"" o "\""
}
# A number as JSON has it, or "".
function num(s) { return length(s) < 19 && s ~ /^-?[0-9]+(\.[0-9]+)?$/ ? sprintf("%.15g", s + 0) : "" }
function fixed(x) { return x == "" ? "" : sprintf("%.15g", sprintf("%.2f", x) + 0) }
function known(s) { return s == "" ? "null" : s }
function hex(s,  i, n) {
if (s !~ /^0x[0-9a-fA-F]+$/) return num(s)
n = 0
for (i = 3; i <= length(s); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(s, i, 1))) - 1
return n < 9007199254740992 ? sprintf("%.15g", n) : ""
}
function names(list,  n, a, i, o) {
n = split(list, a, " ")
for (i = 1; i <= n; i++) o = o (i > 1 ? "," : "") js(a[i])
return "[" o "]"
}
function first(path,  l) {
l = ""
if ((getline l < path) <= 0) l = ""
close(path)
return l
}
function clock(  a) {
if (split(first(root "/proc/uptime"), a, " ")) up = a[1] + 0
return sprintf("%.2f", base + up)
}
# A counter's growth a second, times `by`; nothing the first time and when it was set back.
function rate(key, value, by, at,  r, d) {
r = ""
d = at - rate_at[key]
if ((key in rate_was) && d > 0.005 && value >= rate_was[key]) r = fixed((value - rate_was[key]) * by / d)
rate_was[key] = value
rate_at[key] = at
return r
}
function say(line) { print line; fflush() }
function event(what, gpu, text) {
say("{\"k\":\"e\",\"t\":" clock() ",\"gpu\":" (gpu == "" ? "null" : js(gpu)) ",\"what\":\"" what "\",\"code\":null,\"text\":" js(text) "}")
}
# The same trouble is told once, until something else or a good sample comes.
function trouble(text) {
if (text == troubled) return
troubled = text
event("error", "", text)
}

# ---- host
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

# ---- hello
function why_not(field,  i, o, n, same) {
if (field in never) return js(never[field])
n = 0
same = ""
for (i = 0; i < gpus; i++) {
if (V[i, field] != "" || gone[i]) continue
if (n++ && said[i, field] != same) same = "\001"
else if (same != "\001") same = said[i, field]
}
if (!n) return ""
if (n == gpus && same != "\001") return js(reason(same))
o = ""
for (i = 0; i < gpus; i++) if (V[i, field] == "" && !gone[i]) o = o (o == "" ? "" : ",") js(idx[i]) ":" js(reason(said[i, field]))
return "{" o "}"
}
function reason(text) {
if (backend == "amdgpu") return "the amdgpu driver has no file for it here"
return text == "" ? "nvidia-smi does not tell it" : "nvidia-smi says " text
}
function unsupported(  i, o, w) {
o = ""
if (gpus) for (i = 1; i <= nfast + nslow; i++) {
w = why_not(i <= nfast ? fast[i] : slow[i - nfast])
if (w != "") o = o (o == "" ? "" : ",") js(i <= nfast ? fast[i] : slow[i - nfast]) ":" w
}
o = o lacks("ND_NICS", "net_tx_mib_s", "net_rx_mib_s", "no physical network interface is seen")
o = o lacks("ND_IB", "ib_tx_mib_s", "ib_rx_mib_s", "no active InfiniBand or RoCE port")
o = o lacks("ND_DISKS", "disk_read_mib_s", "disk_write_mib_s", "no local disk is seen")
sub(/^,/, "", o)
return "{" o "}"
}
function lacks(what, a, b, text) { return ENVIRON[what] ~ /[^ ]/ ? "" : "," js(a) ":" js(text) "," js(b) ":" js(text) }
function hello(b, why,  i, o, l, cpus, f) {
f = root "/proc/stat"
while ((getline l < f) > 0) if (l ~ /^cpu[0-9]/) cpus++
close(f)
memory()
o = "{\"k\":\"hello\",\"v\":1,\"backend\":" js(b) ",\"why\":" js(why) ",\"interval_s\":" num(ENVIRON["ND_INTERVAL"]) ",\"t\":" clock()
o = o ",\"hostname\":" js(first("/proc/sys/kernel/hostname")) ",\"boot_id\":" js(first("/proc/sys/kernel/random/boot_id"))
o = o ",\"driver\":" js(driver) ",\"python\":\"\",\"pid\":" num(ENVIRON["ND_PID"]) ",\"gpus\":["
for (i = 0; i < gpus; i++) {
o = o (i ? "," : "") "{\"index\":" js(idx[i]) ",\"uuid\":" js(uuid[i]) ",\"name\":" js(name[i]) ",\"pci_bus_id\":" js(bus[i])
o = o ",\"memory_total_mib\":" known(total[i]) ",\"power_limit_w\":" known(V[i, "power_limit_w"]) (crit[i] == "" ? "" : ",\"temperature_slowdown_c\":" crit[i]) "}"
}
o = o "],\"host\":{\"cpus\":" (cpus ? cpus : "null") ",\"memory_total_mib\":" (mem_total ? sprintf("%d", mem_total / 1024) : "null")
say(o ",\"nics\":" names(ENVIRON["ND_NICS"]) ",\"ib\":" names(ENVIRON["ND_IB"]) "},\"unsupported\":" unsupported() "}")
greeted = 1
told = up
host()
}

# ---- t and s
function row(i, list, n,  j, o) {
if (gone[i]) return "null"
o = ""
for (j = 1; j <= n; j++) o = o (j > 1 ? "," : "") known(V[i, list[j]])
return "[" o "]"
}
function tick(blind,  i, o, h) {
o = "{\"k\":\"t\",\"n\":" seq++ ",\"t\":" clock() ",\"g\":["
for (i = 0; i < gpus; i++) o = o (i ? "," : "") (blind ? "null" : row(i, fast, nfast))
h = host()
say(o "],\"h\":" h ",\"ms\":null}")
told = up
}
function slow_beat(p,  i, o) {
o = "{\"k\":\"s\",\"n\":" seq++ ",\"t\":" clock() ",\"g\":["
for (i = 0; i < gpus; i++) o = o (i ? "," : "") row(i, slow, nslow)
slowed = up
slow_said = 1
say(o "],\"h\":[" known(own_cpu()) "],\"p\":" p "}")
}

# ---- nvidia-smi
function value(field, s) {
sub(/ +$/, "", s)
if (field == "clocks_event_reasons") return hex(s)
if (field == "remap_pending" || field == "remap_failure") return s == "Yes" ? 1 : s == "No" ? 0 : num(s)
if (field == "recovery_action") {
if (tolower(s) in action) return action[tolower(s)]
return num(s)
}
return num(s)
}
# Cells from number `at` on into the fields of GPU i. Two cells of one field are added up.
function take(i, cell, at, n,  j, f, v) {
for (j = 1; j <= columns; j++) { V[i, column[j]] = ""; had[column[j]] = 0 }
for (j = 1; j <= columns && at + j - 1 <= n; j++) {
f = column[j]
v = value(f, cell[at + j - 1])
if (v == "") said[i, f] = cell[at + j - 1]
V[i, f] = had[f] && (v == "" || V[i, f] == "") ? "" : had[f] ? num(V[i, f] + v) : v
had[f] = 1
}
}
function lose(i, text) {
if (gone[i]) return
gone[i] = 1
event("lost", idx[i], text)
}
function flush_block(  i) {
for (i = 0; i < gpus; i++) {
if (seen[i]) missed[i] = 0
else if (++missed[i] == 3) lose(i, "nvidia-smi does not report it any more")
seen[i] = 0
}
rows = 0
quiet = 0
tick(0)
for (i = 0; i < gpus; i++) if (missed[i]) for (j = 1; j <= columns; j++) V[i, column[j]] = ""
if (up - slowed > 11) slow_beat("null")
}
function alive(  i, n) {
n = 0
for (i = 0; i < gpus; i++) if (!gone[i]) n++
return n
}
function sample(line,  n, c, i) {
n = split(line, c, /, */)
if (!(c[1] in at_uuid)) return other(line)
if (n != columns + 1) return
i = at_uuid[c[1]]
if (line ~ /GPU is lost/) {
lose(i, "GPU is lost")
} else {
if (seen[i]) flush_block()
if (gone[i]) { gone[i] = 0; event("back", idx[i], "answers again") }
take(i, c, 2, n)
troubled = ""
seen[i] = 1
rows++
last_row = up
}
if (rows && rows >= alive()) flush_block()
}
# A line that is no sample: the driver's words about a GPU, or about everything.
function other(line,  i, b) {
if (line ~ /^[ \t]*$/ || !greeted) return
if (line ~ /GPU/) for (i = 0; i < gpus; i++) {
b = bus[i]
sub(/^0000/, "", b)
if (index(tolower(line), tolower(b))) { lose(i, line); return }
}
trouble("nvidia-smi: " line)
}
function device(line,  n, c, i, j) {
n = split(line, c, /, */)
if (n < columns + 6 || (c[2] in at_uuid)) return
i = gpus++
at_uuid[c[2]] = i
idx[i] = num(c[1]) == "" ? i "" : num(c[1])
uuid[i] = c[2]
bus[i] = c[3]
if (num(c[4]) != "" || c[4] ~ /^[0-9.]+$/) driver = c[4]
total[i] = num(c[5])
name[i] = c[columns + 6]
for (j = columns + 7; j <= n; j++) name[i] = name[i] ", " c[j]
take(i, c, 6, columns + 5)
}
function process(line,  c, n, a, j, u, m) {
n = split(line, c, /\t/)
if (n < 3) return
for (j = 4; j <= n; j++) c[3] = c[3] " " c[j]
n = split(c[3], a, /, */)
if (n < 4 || !(a[1] in at_uuid) || num(a[2]) == "") return
for (j = 5; j <= n; j++) a[4] = a[4] ", " a[j]
m = a[4]
sub(/ .*$/, "", m)
sub(/^.*\//, "", m)
if (a[4] ~ /^\[/) m = ""
if (++procs_n > 2000) return
procs = procs (procs == "" ? "" : ",") "[" js(idx[at_uuid[a[1]]]) "," num(a[2]) "," js(c[1]) "," js(m) "," known(num(a[3])) ",\"C\"," js(c[2]) "]"
}

# ---- amdgpu
function card(line,  c, i) {
split(line, c, /\t/)
i = gpus++
idx[i] = c[1]
bus[i] = c[2]
uuid[i] = c[3]
total[i] = num(c[4]) == "" ? "" : sprintf("%d", c[4] / 1048576)
name[i] = c[5]
}
function amd(line,  n, w, j, k, i, g, x) {
for (i = 0; i < gpus; i++) for (j = 1; j <= nfast; j++) if (fast[j] !~ /^ecc/) V[i, fast[j]] = ""
for (i = 0; i < gpus; i++) { delete X[i, "t_junction"]; delete X[i, "t_edge"]; ue[i] = ce[i] = "" }
n = split(line, w, " ")
for (j = 1; j <= n; j++) {
if (split(w[j], k, "=") != 3) continue
i = k[1]
g = k[2]
x = k[3]
if (g == "gen") { V[i, "pcie_gen"] = x == "2.5" ? 1 : (x in gts) ? gts[x] : ""; continue }
if (g ~ /^dpm_/) { sub(/[Mm][Hh][Zz].*$/, "", x); g = g == "dpm_sclk" ? "mhz_sclk" : "mhz_mclk" }
if ((x = num(x)) == "") continue
if (g == "util") V[i, "gpu_util_pct"] = x
else if (g == "memutil") V[i, "memory_util_pct"] = x
else if (g == "used") V[i, "memory_used_mib"] = sprintf("%d", x / 1048576)
else if (g == "power") V[i, "power_w"] = fixed(x / 1000000)
else if (g == "t_mem") V[i, "temperature_memory_c"] = num(int(x / 1000))
else if (g ~ /^[tc]_/) X[i, g] = x / 1000
else if (g == "sclk") V[i, "sm_clock_mhz"] = num(int(x / 1000000))
else if (g == "mclk") V[i, "mem_clock_mhz"] = num(int(x / 1000000))
else if (g == "mhz_sclk") V[i, "sm_clock_mhz"] = x
else if (g == "mhz_mclk") V[i, "mem_clock_mhz"] = x
else if (g == "cap") V[i, "power_limit_w"] = fixed(x / 1000000)
else if (g == "energy") V[i, "energy_j"] = fixed(x / 1000000)
else if (g == "replays") V[i, "pcie_replays"] = x
else if (g == "width") V[i, "pcie_width"] = x
else if (g == "ue:") ue[i] += x
else if (g == "ce:") ce[i] += x
}
for (i = 0; i < gpus; i++) {
g = ((i, "t_edge") in X) ? "edge" : "junction"
if ((i, "t_" g) in X) {
V[i, "temperature_c"] = num(int(X[i, "t_" g]))
if ((i, "c_" g) in X) { crit[i] = num(int(X[i, "c_" g])); V[i, "t_limit_margin_c"] = num(crit[i] - V[i, "temperature_c"]) }
}
if (ue[i] != "") V[i, "ecc_uncorrectable"] = ue[i]
if (ce[i] != "") V[i, "ecc_correctable"] = ce[i]
}
}

BEGIN {
root = ENVIRON["ND_ROOT"]
backend = ENVIRON["ND_BACKEND"]
interval = ENVIRON["ND_INTERVAL"] + 0
hz = ENVIRON["ND_HZ"] > 0 ? ENVIRON["ND_HZ"] + 0 : 100
base = ENVIRON["ND_NOW"] - ENVIRON["ND_UP"]
why = ENVIRON["ND_WHY"]
nfast = split(ENVIRON["ND_FAST"], fast, " ")
nslow = split(ENVIRON["ND_SLOW"], slow, " ")
nhost = split(ENVIRON["ND_HOST"], hostname_of, " ")
n = split(ENVIRON["ND_NICS"], w, " ")
for (i = 1; i <= n; i++) nic[w[i]]
n = split(ENVIRON["ND_DISKS"], w, " ")
for (i = 1; i <= n; i++) disks[w[i]]
n = split("none gpu_reset node_reboot drain_p2p drain_and_reset", w, " ")
for (i = 1; i <= n; i++) { x = w[i]; gsub(/_/, " ", x); action[x] = i - 1 }
action["reset"] = 1
action["reboot"] = 2
gts["5"] = gts["5.0"] = 2
gts["8"] = gts["8.0"] = 3
gts["16"] = gts["16.0"] = 4
gts["32"] = gts["32.0"] = 5
gts["64"] = gts["64.0"] = 6
gpus = seq = rows = quiet = 0
clock()
started = last_row = slowed = told = up
n = split(ENVIRON["ND_NEVER_" backend], w, " ")
for (i = 1; i <= n; i++) never[w[i]] = backend == "amdgpu" ? "the amdgpu driver has no file for it" : "nvidia-smi --query-gpu does not tell it"
}
/^@/ {
tag = $1
rest = substr($0, length(tag) + 2)
if (tag == "@b") beat()
else if (tag == "@eof") { say("{\"k\":\"bye\",\"t\":" clock() ",\"why\":\"the channel is closed\"}"); exit }
else if (tag == "@pid") { if (num(rest) != "") pids[rest] }
else if (tag == "@i") { split(rest, w, " "); H["ib_tx_mib_s"] = rate("ibtx", w[2], 1 / 1048576, w[1]); H["ib_rx_mib_s"] = rate("ibrx", w[3], 1 / 1048576, w[1]) }
else if (tag == "@columns") columns = split(rest, column, " ")
else if (tag == "@u") { x = $2; if (!(x in never)) never[x] = substr(rest, length(x) + 2) }
else if (tag == "@d") device(rest)
else if (tag == "@a") card(rest)
else if (tag == "@g") amd(rest)
else if (tag == "@h") start()
else if (tag == "@none") nothing(rest)
else if (tag == "@x") trouble("nvidia-smi ended with status " rest "; it is started again")
else if (tag == "@p") { procs = ""; procs_n = 0 }
else if (tag == "@r") process(rest)
else if (tag == "@q") { if (greeted && !silent && gpus) slow_beat("[" procs "]") }
next
}
{ sample($0) }
function start() {
if (greeted) event("devices", "", "nvidia-smi answers now")
silent = 0
hello(backend, why)
}
# No GPU can be sampled: the host is, and what nvidia-smi said is the reason.
function nothing(text) {
if (greeted && text == nothing_said) return
nothing_said = text
if (greeted) event("devices", "", text)
silent = 1
hello("none", why (why == "" ? "" : "; ") "nvidia-smi: " text)
}
function beat() {
clock()
if (!greeted) {
if (up - started < 20 || backend != "smi") return
nothing("no answer within 20 seconds")
}
if (backend != "smi" || silent) {
if (up - told < 0.2 * interval) return
tick(0)
if (up - slowed > 9.5 || !slow_said) slow_beat("null")
return
}
if (rows && up - last_row > (interval > 1 ? 1.5 * interval : 1.5)) flush_block()
else if (up - told > (3 * interval > 5 ? 3 * interval : 5) || (quiet && up - told > 0.9 * interval)) {
quiet = 1
trouble("nvidia-smi has said nothing for " int(up - last_row) " seconds")
tick(1)
if (up - slowed > 11) slow_beat("null")
}
}
