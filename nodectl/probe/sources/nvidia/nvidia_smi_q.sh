# source: nvidia_smi_q
# about: all that nvidia-smi knows about every GPU, as XML
# by_hand: nvidia-smi -q
# timeout: 45
# lane: slow
# root: no

# The lists of supported clocks and of past processes are left out on the node: they are most of the answer and nobody
# reads them. Of a process only the base name stays. The exit code of nvidia-smi goes through the pipe as the last line.
smi_filter() {
  awk '
    BEGIN { rc = 1 }
    /^nd_rc [0-9]+$/ { rc = $2; next }
    /<supported_clocks>|<accounted_processes>/ { skip = 1 }
    skip { if (/<\/supported_clocks>|<\/accounted_processes>/) skip = 0; next }
    /<process_name>/ {
      head = $0; sub(/<process_name>.*/, "<process_name>", head)
      name = $0; sub(/.*<process_name>/, "", name); sub(/<\/process_name>.*/, "", name)
      if (name !~ /^\[/) { sub(/[ \t].*/, "", name); sub(/.*\//, "", name); gsub(/[&<>]/, "_", name) }
      print head name "</process_name>"
      next
    }
    { print }
    END { exit rc }'
}

smi_query() {
  {
    timeout -k 1 40 nvidia-smi -q -x
    printf '\nnd_rc %s\n' "$?"
  } | smi_filter
}

if nd_have awk; then
  nd_cmd_as 'nvidia-smi -q -x' smi_query
else
  nd_cmd_as 'nvidia-smi -q -x' timeout -k 1 40 nvidia-smi -q -x
fi
