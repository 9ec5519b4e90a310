# The values of the amdgpu driver's files, in the units of the fields.
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
