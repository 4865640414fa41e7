#!/usr/bin/env bash
# What a publish costs and how soon it knows, on the lab's real kubelet:
#
# 1. seconds from the moment that the cluster shows a cause to Shipway's verdict with its evidence, by class, beside what others' rules
#    take. The classes are provoked by tests/it/publish/{failures,certain}.rs, which measure with watches of their own;
# 2. a rolling update of two replicas by kubectl (apply, rollout status), by Helm (upgrade --wait) and by Shipway, in turns;
# 3. a publish in a namespace with 5,000 other pods, pretended ones.
#
# What is to be reached is told with each, and the script fails when something is missed: 2 s for the classes that are fatal at once, all but
# those that have a budget, a window, a grace or a time limit.
#
# The rules of others: `kubectl rollout status` fails when the Deployment's progressDeadlineSeconds (600) have passed; `helm upgrade
# --wait` after its --timeout (300 s); Krane polls every 3 s, fails when all new pods are in a state that it calls doomed, else with the
# progress deadline. These are the defaults of each.
#
#   ROUNDS (3)          times that each class is provoked; the median is told
#   THREADS (2)         classes at a time: what the machine does beside is not to be measured
#   BENCH_PODS (5000)   other pods of the third part
#   BENCH_ROUNDS (6)    updates of the second part, after one that creates and does not count
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec < /dev/null

"$root/tests/cluster/lab.sh" env > /dev/null 2>&1 || { echo 'the lab is not up: start it with `make lab-up`' >&2; exit 1; }
output=$(mktemp)
trap 'rm -f "$output"' EXIT
cd "$root"

measure() { # FILTER… -- ARGUMENT…
  cargo test --locked --test it -- "$@" --nocapture >> "$output" 2>&1 || { tail -n 40 "$output" >&2; return 1; }
}

# The middle one of the lines' last fields.
classes() {
  for _ in $(seq "${ROUNDS:-3}"); do measure publish::failures publish::certain --test-threads "${THREADS:-2}"; done
  printf '%-44s %-20s %8s %8s %8s %8s  %s\n' class problem Shipway kubectl Helm Krane '≤ 2 s'
  sed -n 's/.*verdict\t//p' "$output" | sort -t "$(printf '\t')" -k 1,1 -k 3,3n | awk -F '\t' '
    function row(  middle, kubectl, krane) {
      middle = int((count + 1) / 2)
      kubectl = class ~ /^progress deadline/ ? "0" : "600"
      krane = others[middle] == "-" ? "600" : sprintf("%.0f-%.0f", others[middle], others[middle] + 3)
      if (class ~ /^progress deadline/) krane = "0-3"
      reached = class ~ /\((budget|window|grace)|^time limit/ ? "-" : (ours[middle] <= 2 ? "reached" : "MISSED")
      if (reached != "-") { all++; if (reached == "MISSED") missed++ }
      printf "%-44s %-20s %8.2f %8s %8s %8s  %s\n", class, problem, ours[middle], kubectl, "300", krane, reached
    }
    $1 != class { if (count) row(); count = 0 }
    { class = $1; problem = $2; ours[++count] = $3; others[count] = $4 }
    END { if (count) row(); printf "%d of %d classes that are fatal at once within 2 s\n", all - missed, all; exit missed > 0 }'
}

# The release, as people run it. What was measured is told also when it is not what it should be.
beside_others() {
  local status=0
  tests/gate/release.sh > /dev/null 2>&1
  export SHIPWAY_BENCH_BINARY=$root/target/x86_64-unknown-linux-gnu/release/shipway
  : > "$output"
  measure publish::bench --ignored --test-threads 1 || status=1
  printf '\nrolling update of two replicas, and a publish among other pods\n'
  grep -E ' MB$|pods after|^of them |: (reached|MISSED)' "$output" | sed -E 's/^test [^ ]+ \.\.\. //'
  return $status
}

status=0
classes || status=1
beside_others || status=1
exit $status
