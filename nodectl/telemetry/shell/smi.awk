# nvidia-smi's cells become values, its words events.
function field_value(field, s) {
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
v = field_value(f, cell[at + j - 1])
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
