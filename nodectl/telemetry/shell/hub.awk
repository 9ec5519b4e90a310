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
