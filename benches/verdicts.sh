#!/usr/bin/env bash
# Seconds from the moment that the cluster shows a cause to Shipway's verdict with its evidence, by class, on the lab's real kubelet.
# The classes are provoked by the tests of tests/it/publish/failures.rs, which measure with a watch of their own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec < /dev/null

"$root/tests/cluster/lab.sh" env > /dev/null 2>&1 || { echo 'the lab is not up: start it with `make lab-up`' >&2; exit 1; }
output=$(mktemp)
trap 'rm -f "$output"' EXIT
cd "$root"
# few at a time: what the machine does beside is not to be measured
cargo test --locked --test it publish::failures -- --nocapture --test-threads "${THREADS:-2}" > "$output" 2>&1 || { tail -n 40 "$output" >&2; exit 1; }
printf '%-42s %-20s %s\n' class problem seconds
sed -n 's/.*verdict\t/\t/p' "$output" | awk -F '\t' '{ printf "%-42s %-20s %6.2f\n", $2, $3, $4 }' | sort -k 1
