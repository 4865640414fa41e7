#!/usr/bin/env bash
# The figures of the README, measured on this machine: start-up, size of the binary, what reporting takes, peak memory and time of a run
# without Maven for a jar of 70 MB (image to the lab's registry, rollout to the lab's cluster when it is up).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
shipway=$root/target/x86_64-unknown-linux-gnu/release/shipway
exec < /dev/null

"$root/tests/gate/release.sh"
"$root/tests/cluster/lab.sh" env > /dev/null 2>&1 || { echo 'the lab is not up: start it with `make lab-up`' >&2; exit 1; }
eval "$("$root/tests/cluster/lab.sh" env)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The fastest of many: what the machine does beside only adds.
start_up() {
  local best=999999 begun took
  for _ in $(seq 30); do
    begun=$(date +%s%N)
    "$shipway" version > /dev/null
    took=$((($(date +%s%N) - begun) / 1000))
    [ $took -ge $best ] || best=$took
  done
  echo "$best"
}

# A run that has nothing to do but to tell of it: log, every file of the report, card, comment (looked for, written, looked at, edited)
# and status. All of it together is more than reporting adds to a run; the fastest of many.
reporting() {
  local best=999999 begun took sha
  mkdir -p "$work/told"
  printf 'app: told\nkind: library\nbuild: {command: ["true"]}\n' > "$work/told/shipway.yaml"
  git -C "$work/told" init --quiet --initial-branch=main
  git -C "$work/told" -c user.name=bench -c user.email=bench@example.test commit --quiet --allow-empty --message bench
  sha=$(git -C "$work/told" rev-parse HEAD)
  "$here/code_host.py" "$work/port" > /dev/null &
  host=$!
  # in the shell of its own that a figure has
  trap 'kill $host' EXIT
  until [ -s "$work/port" ]; do sleep 0.05; done
  for _ in $(seq 30); do
    begun=$(date +%s%N)
    (cd "$work/told" && env -i PATH="$PATH" HOME="$HOME" CI=true DRONE=true DRONE_REPO=trade/told DRONE_REPO_NAME=told \
      DRONE_BUILD_EVENT=pull_request DRONE_PULL_REQUEST=7 DRONE_COMMIT_SHA="$sha" DRONE_CARD_PATH="$work/card" PLUGIN_FORGE_KIND=gitea \
      PLUGIN_FORGE_URL="http://127.0.0.1:$(cat "$work/port")" PLUGIN_FORGE_TOKEN=bench-token-1 "$shipway" build) > "$work/told.log" 2>&1
    took=$((($(date +%s%N) - begun) / 1000000))
    [ $took -ge $best ] || best=$took
  done
  ! grep -q '!' "$work/told.log" || { cat "$work/told.log" >&2; return 1; }
  echo "$best"
}

# A jar that starts, made heavy by what does not compress.
heavy_jar() {
  mkdir -p "$work/project/target" "$work/classes"
  head -c 70000000 /dev/urandom > "$work/classes/ballast.bin"
  printf 'public class Main { public static void main(String[] a) throws Exception { new java.net.ServerSocket(8080); Thread.sleep(Long.MAX_VALUE); } }\n' > "$work/Main.java"
  javac --release 17 -d "$work/classes" "$work/Main.java"
  jar --create --file "$work/project/target/heavy.jar" --main-class Main -C "$work/classes" .
  printf 'app: heavy\nline: bench\nbuild: {command: ["true"], artifact: target/heavy.jar}\nkubernetes: {replicas: 1, rolling: {min_ready_seconds: 0}}\n' > "$work/project/shipway.yaml"
  git -C "$work/project" init --quiet --initial-branch=main
  git -C "$work/project" -c user.name=bench -c user.email=bench@example.test commit --quiet --allow-empty --message bench
}

# The kernel keeps a process's peak while it lives; the last look at it before the end is the figure.
whole_run() {
  local namespace=bench-$$ begun peak=0 now process
  "$root/tests/cluster/lab.sh" kubeconfig $namespace > "$work/kubeconfig"
  begun=$(date +%s%N)
  (cd "$work/project" && exec env -i PATH="$PATH" HOME="$HOME" KUBECONFIG="$work/kubeconfig" SHIPWAY_KUBERNETES_NAMESPACE=$namespace \
    SHIPWAY_REGISTRY_URL="$LAB_REGISTRY" SHIPWAY_IMAGE_BASE="$LAB_BASE_17" SHIPWAY_PUBLISH=true "$shipway" run) > "$work/log" 2>&1 &
  process=$!
  while kill -0 $process 2> /dev/null; do
    now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' /proc/$process/status 2> /dev/null || true)
    peak=${now:-$peak}
    sleep 0.01
  done
  "$root/tests/cluster/lab.sh" forget $namespace
  wait $process || { cat "$work/log" >&2; return 1; }
  echo "$((peak / 1024)) MB peak, $((($(date +%s%N) - begun) / 1000000)) ms"
}

# The fastest of ten pulls of 200 files, each on the disk before it counts.
pull() {
  local namespace=pull-$$ nth best=999999 begun took
  "$root/tests/cluster/lab.sh" kubeconfig $namespace > "$work/pull.kubeconfig"
  mkdir -p "$work/pull/config"
  printf 'app: pull\nline: bench\nkubernetes: {namespace: %s}\n' $namespace > "$work/pull/shipway.yaml"
  for nth in $(seq 200); do
    mkdir -p "$work/pull/config/$((nth % 7))"
    seq -f "key-$nth-%g: value" 100 > "$work/pull/config/$((nth % 7))/$nth.yml"
  done
  cd "$work/pull"
  env -i PATH="$PATH" HOME="$HOME" KUBECONFIG="$work/pull.kubeconfig" "$shipway" config push config > "$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
  for nth in $(seq 10); do
    rm -rf "$work/pull/got"
    begun=$(date +%s%N)
    env -i PATH="$PATH" HOME="$HOME" KUBECONFIG="$work/pull.kubeconfig" "$shipway" config pull --to "$work/pull/got" > "$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    took=$((($(date +%s%N) - begun) / 1000000))
    [ $took -ge $best ] || best=$took
  done
  "$root/tests/cluster/lab.sh" forget $namespace
  [ "$(find "$work/pull/got" -name '*.yml' | wc -l)" = 200 ]
  echo "$best"
}

heavy_jar
printf '%-52s %s\n' 'start-up, `shipway version`' "$(start_up) µs" 'size of the static binary' "$(($(stat -c %s "$shipway") / 1000)) kB" \
  'all of a run that has nothing to do but to tell of it' "$(reporting) ms" \
  'peak memory and time, 70 MB jar to running pods' "$(whole_run)" '`shipway config pull` of 200 files' "$(pull) ms"
