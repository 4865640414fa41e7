# Requests to the service, one after the other, and what became of them. Sourced by demo.sh.

answer() { curl -sS --max-time 5 "$url" 2>&1; }

# About twenty a second, each on a connection of its own, as new clients come.
requests_begin() {
  : > "$folder/requests"
  while :; do
    curl -s --max-time 5 -w ' %{http_code}\n' "$url" | paste -sd ' ' >> "$folder/requests" || true
    sleep 0.05
  done &
  requests=$!
  say "requests to $url begin"
}

requests_end() {
  local total failed
  kill "$requests" 2> /dev/null || true
  wait "$requests" 2> /dev/null || true
  requests=''
  total=$(wc -l < "$folder/requests")
  failed=$(grep -vc ' 200$' "$folder/requests" || true)
  say "requests during the rollout: $total, failed: $failed; answers: $(sed -nE 's/^([^ ]+ [0-9.]+).* 200$/\1/p' "$folder/requests" | sort | uniq -c | awk '{ printf "%s%s × \"%s %s\"", (NR > 1 ? ", " : ""), $1, $2, $3 }')"
  [ "$failed" = 0 ] || fail "requests failed, see $folder/requests"
}
