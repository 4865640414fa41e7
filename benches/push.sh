#!/usr/bin/env bash
# What it costs to build an image and push it: Shipway beside Jib, crane, buildah and docker, in one run, against a registry in a network
# namespace of their own, once on plain loopback and once with 50 ms of latency.
#
#   push.sh [ROUNDS]     rounds of each measurement; their median is printed (default 3)
#   BENCH_BINARY=FILE    this Shipway instead of a fresh release
#   BENCH_TOOLS='jib docker'   these alone beside Shipway
#   BENCH_LARGE=0        without the layer of 4.4 GB, which takes as much disk
#
# The application is the Spring Boot fixture with a dependency folder made heavy by files that do not compress: 69 MB in all, as the jar of a
# larger service has, and 150 MB for the first push. Jib takes the same files as extraDirectories, since it makes its layers of Maven's
# dependencies; docker and buildah build the context that Shipway staged, and docker once more the jar as one layer, as most have it.
# Requests and connections are those in the registry's log; bytes are those on the namespace's loopback, both directions; memory is the most
# that a tool's largest process had, docker's that of its daemon.
# Needs root, iproute2, time, docker-registry, skopeo, Maven, Go (for crane), and the lab (its base image). Tools that are not there are
# left out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
rounds=${1:-3}
JIB=3.4.6 CRANE=v0.20.6 LATENCY=0.025 # seconds, each way
shipway=${BENCH_BINARY:-$root/target/x86_64-unknown-linux-gnu/release/shipway}
exec < /dev/null

[ -n "${BENCH_BINARY:-}" ] || "$root/tests/gate/release.sh"
eval "$("$root/tests/cluster/lab.sh" env)"
work=$(mktemp -d)
space=shipway-bench-$$
registry=127.0.0.1:5001
base=$registry/java:17
processes=()
carried=1 # how often the loopback sees a byte

ending() {
  local process
  for process in "${processes[@]}"; do kill "$process" 2> /dev/null || true; done
  wait 2> /dev/null || true
  ip netns delete $space 2> /dev/null || true
  awk -v folder="$work/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  rm -rf "$work"
}
trap ending EXIT

# `ip netns exec` would hide the control groups, which docker wants to see. Not for what stays in the background: its process would be that of
# a shell of ours.
inside() { nsenter --net=/run/netns/$space "$@"; }

ground() {
  ip netns add $space
  inside ip link set lo up
  cat > "$work/registry.yml" << YAML
version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "$work/registry"}}
http: {addr: "$registry"}
YAML
  nsenter --net=/run/netns/$space docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
  processes+=($!)
  skopeo copy --quiet --src-tls-verify=false "docker://$LAB_BASE_17" "oci:$work/base:17"
  until inside curl -fsS "http://$registry/v2/" > /dev/null 2>&1; do sleep 0.1; done
  inside skopeo copy --quiet --dest-tls-verify=false "oci:$work/base:17" "docker://$base"
}

# The fixture, packaged, with its dependencies made heavy: so many bytes in all.
application() { # BYTES
  cd / # not in a folder that goes
  rm -rf "$work/project" "$work/heavy" "$work/shipway" "$work/patch"
  cp -r "$root/tests/fixtures/spring-boot-service" "$work/project"
  (cd "$work/project" && mvn -B -ntp -q -o -DskipTests package) > "$work/out" 2>&1
  mkdir -p "$work/heavy/BOOT-INF/lib" "$work/project/src/main/jib/app/libs"
  local have heavy nth
  have=$(stat -c %s "$work"/project/target/*.jar)
  heavy=$((($1 - have) / 10))
  for nth in $(seq 10); do
    head -c $heavy /dev/urandom > "$work/heavy/BOOT-INF/lib/heavy-$nth.jar"
    cp "$work/heavy/BOOT-INF/lib/heavy-$nth.jar" "$work/project/src/main/jib/app/libs/"
  done
  cp "$work"/project/target/*.jar "$work/app.jar"
  (cd "$work/heavy" && jar --update --no-compress --file "$work/app.jar" BOOT-INF)
  mkdir -p "$work/shipway"
  cp "$work/app.jar" "$work/shipway/app.jar"
  printf 'app: app\nline: bench\nbuild: {command: ["true"], artifact: app.jar}\nimage: {platforms: [linux/amd64], tag: latest}\n' > "$work/shipway/shipway.yaml"
  git -C "$work/shipway" init --quiet --initial-branch=main
  git -C "$work/shipway" -c user.name=bench -c user.email=bench@example.test commit --quiet --allow-empty --message bench
  context
}

# One class gets other bytes, in every form that the tools take; every file gets a new time, as a checkout gives it.
change() {
  local class
  class=$(cd "$work/project/target/classes" && find . -name '*.class' | head -n 1)
  printf '%s' $RANDOM$RANDOM >> "$work/project/target/classes/$class"
  (cd "$work" && mkdir -p patch/BOOT-INF/classes && cp -r project/target/classes/. patch/BOOT-INF/classes/)
  (cd "$work/patch" && jar --update --no-compress --file "$work/shipway/app.jar" BOOT-INF)
  context
}

# Every file of the project gets another time.
touch_all() { find "$work/project" "$work/context" "$work/shipway" -type f -exec touch {} +; }

# The context that docker and buildah build, and the layer that crane appends: as Shipway stages them.
context() {
  (cd "$work/shipway" && SHIPWAY_IMAGE_BASE=$base "$shipway" dockerfile > /dev/null 2>&1)
  rm -rf "$work/context"
  cp -r "$work/shipway/shipway-report/context" "$work/context"
  tar --create --file "$work/layer.tar" --directory "$work/context" --transform 's,^,app/,' --exclude Dockerfile .
}

run_shipway() { # REPOSITORY
  cd "$work/shipway"
  inside env -i PATH="$PATH" HOME="$work" SHIPWAY_IMAGE_CACHE="$work/cache" SHIPWAY_IMAGE_REPOSITORY="$registry/$1" \
    SHIPWAY_IMAGE_BASE="$base@$base_digest" /usr/bin/time -f '%e %M' -o "$work/time" "$shipway" image
}

# Not offline: Jib refuses to push then. All that it needs was fetched before.
run_jib() {
  cd "$work/project"
  inside env XDG_CACHE_HOME="$work" /usr/bin/time -f '%e %M' -o "$work/time" mvn -B -ntp -q \
    com.google.cloud.tools:jib-maven-plugin:$JIB:build -Djib.from.image="$base" -Djib.to.image="$registry/$1" -Djib.allowInsecureRegistries=true
}

run_crane() {
  inside /usr/bin/time -f '%e %M' -o "$work/time" "$work/bin/crane" append --insecure --base "$base" --new_layer "$work/layer.tar" --new_tag "$registry/$1"
}

run_buildah() {
  inside env BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs /usr/bin/time -f '%e %M' -o "$work/time" \
    buildah --root "$work/buildah" --runroot "$work/buildah-run" build --quiet --layers --tls-verify=false --tag "$registry/$1" "$work/context"
  inside env STORAGE_DRIVER=vfs /usr/bin/time -f '%e %M' -o "$work/time2" \
    buildah --root "$work/buildah" --runroot "$work/buildah-run" push --quiet --tls-verify=false "$registry/$1"
  both
}

run_docker() { docker_with "$1" "$work/context"; }

# As most have it: the whole jar is one layer.
run_docker-jar() {
  mkdir -p "$work/fat"
  cp "$work/shipway/app.jar" "$work/fat/"
  printf 'FROM %s\nCOPY app.jar /app/app.jar\nENTRYPOINT ["java", "-jar", "/app/app.jar"]\n' "$base" > "$work/fat/Dockerfile"
  docker_with "$1" "$work/fat"
}

docker_with() { # REPOSITORY CONTEXT
  local daemon
  daemon=$(cat "$work/docker/pid")
  echo 5 > "/proc/$daemon/clear_refs" # its peak begins anew
  inside env DOCKER_HOST="unix://$work/docker.sock" DOCKER_BUILDKIT=0 /usr/bin/time -f '%e %M' -o "$work/time" docker build --quiet --tag "$registry/$1" "$2"
  inside env DOCKER_HOST="unix://$work/docker.sock" /usr/bin/time -f '%e %M' -o "$work/time2" docker push --quiet "$registry/$1"
  printf '0 %s\n' "$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$daemon/status")" >> "$work/time2"
  both
}

# Two programs: their seconds together, the memory of the larger.
both() { cat "$work/time" "$work/time2" | awk '{ s += $1; if ($2 > m) m = $2 } END { print s, m }' > "$work/both" && mv "$work/both" "$work/time"; }

start_docker() {
  mkdir -p "$work/docker"
  nsenter --net=/run/netns/$space dockerd --host "unix://$work/docker.sock" --data-root "$work/docker/data" --exec-root "$work/docker/run" --pidfile "$work/docker/pid" \
    --bridge none --iptables=false --ip-masq=false --ip-forward=false --storage-driver overlay2 --log-level error > "$work/docker.log" 2>&1 &
  processes+=($!)
  local nth
  for nth in $(seq 300); do
    docker --host "unix://$work/docker.sock" version > /dev/null 2>&1 && return
    sleep 0.2
  done
  return 1
}

# Runs a tool and adds a line: seconds, requests, connections, kilobytes, megabytes of memory.
measure() { # TOOL REPOSITORY FILE
  local log bytes
  log=$(wc -l < "$work/registry.log")
  bytes=$(inside awk '/lo:/ { print $10 }' /proc/net/dev)
  "run_$1" "$2" > "$work/out" 2>&1 || { echo "$1 failed:" >&2; tail -n 20 "$work/out" >&2; return 1; }
  bytes=$(($(inside awk '/lo:/ { print $10 }' /proc/net/dev) - bytes))
  sleep 0.3 # the log is written a moment after the answer
  tail -n +$((log + 1)) "$work/registry.log" | grep '"response completed' > "$work/requests" || true
  printf '%s %s %s %s %s\n' "$(tail -n 1 "$work/time" | cut -d ' ' -f 1)" "$(wc -l < "$work/requests")" \
    "$(sed -n 's/.*"http.request.remoteaddr":"\([^"]*\)".*/\1/p' "$work/requests" | sort -u | wc -l)" \
    "$((bytes / 1000 / carried))" "$(($(tail -n 1 "$work/time" | cut -d ' ' -f 2) / 1000))" >> "$3"
}

# The median of each column.
medians() { # FILE
  local column
  for column in 1 2 3 4 5; do
    cut -d ' ' -f $column "$1" | sort -n | awk '{ all[NR] = $1 } END { printf "%s ", all[int((NR + 1) / 2)] }'
  done
}

table() { # TITLE
  local tool nth
  printf '\n%s (load %s)\n' "$1" "$(cut -d ' ' -f 1 /proc/loadavg)"
  heading
  for tool in "${tools[@]}"; do
    rm -f "$work"/figures-*
    for nth in $(seq "$rounds"); do
      local repository=bench/$tool-$RANDOM$RANDOM
      measure "$tool" "$repository" "$work/figures-new"
      change
      touch_all
      measure "$tool" "$repository" "$work/figures-changed"
      touch_all
      measure "$tool" "$repository" "$work/figures-same"
    done
    row new 'new repository' "$tool"
    row changed 'one class changed' "$tool"
    row same 'nothing changed' "$tool"
  done
}

heading() { printf '%-24s %-10s %8s %9s %12s %10s %8s %12s\n' work tool seconds requests connections kB MB 'round trips'; }

# Round trips are what the latency added to the seconds, in units of it: for what takes seconds by itself little more than noise.
row() { # SCENE WORDS TOOL
  local line trips=-
  read -r -a line <<< "$(medians "$work/figures-$1")"
  if [ -n "${line_of[$3 $1]:-}" ]; then
    trips=$(awk -v far="${line[0]}" -v near="${line_of[$3 $1]}" -v way=$LATENCY 'BEGIN { printf "%.1f", (far - near) / (2 * way) }')
  else
    line_of[$3 $1]=${line[0]}
  fi
  printf '%-24s %-10s %8s %9s %12s %10s %8s %12s\n' "$2" "$3" "${line[@]}" "$trips"
}

# A service's first push: 150 MB, into a repository that is not there yet, whose base can be mounted.
first_push() {
  local tool nth
  application 150000000
  printf '\n150 MB, first push (load %s)\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
  raw
  heading
  for tool in "${tools[@]}"; do
    rm -f "$work"/figures-*
    for nth in $(seq "$rounds"); do
      measure "$tool" "first/$tool-$RANDOM$RANDOM" "$work/figures-first"
    done
    row first 'first push' "$tool"
  done
}

# The same bytes as one blob, by curl, over one connection: what the registry itself needs to take them in.
raw() {
  local nth begun digest
  digest=sha256:$(sha256sum "$work/app.jar" | cut -d ' ' -f 1)
  rm -f "$work/raw"
  for nth in $(seq "$rounds"); do
    local uploads=http://$registry/v2/raw/a$RANDOM$RANDOM/blobs/uploads/ location
    begun=$(date +%s%N)
    location=$(inside curl -fsS -X POST -D - -o /dev/null "$uploads" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    inside curl -fsS -X PUT -H 'Expect:' -H 'Content-Type: application/octet-stream' -T "$work/app.jar" "$location&digest=$digest"
    echo $((($(date +%s%N) - begun) / 1000000)) >> "$work/raw"
  done
  echo "raw by curl, POST and PUT of one blob: $(sort -n "$work/raw" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }') ms"
}

# A file larger than what 32 bits count, mostly a hole, which begins with what does not compress: the layer is stored, and as large.
large() {
  mkdir -p "$work/large"
  head -c 65536 /dev/urandom > "$work/large/big.bin"
  truncate --size 4400000000 "$work/large/big.bin"
  printf 'FROM scratch\nCOPY big.bin /big.bin\nENTRYPOINT ["/big.bin"]\n' > "$work/large/Dockerfile"
  printf 'app: large\nline: bench\nbuild: {command: ["true"]}\nimage: {dockerfile: Dockerfile, platforms: [linux/amd64], tag: latest}\n' > "$work/large/shipway.yaml"
  git -C "$work/large" init --quiet --initial-branch=main
  git -C "$work/large" -c user.name=bench -c user.email=bench@example.test commit --quiet --allow-empty --message bench
  (cd "$work/large" && inside env -i PATH="$PATH" HOME="$work" TMPDIR="$work" SHIPWAY_IMAGE_REPOSITORY=$registry/bench/large \
    /usr/bin/time -f '%e s, %M kB of memory at its peak' -o "$work/time" "$shipway" image > "$work/out" 2>&1) || { tail -n 20 "$work/out" >&2; return 1; }
  printf '\na layer of 4.4 GB: %s\n' "$(tail -n 1 "$work/time")"
  rm -rf "$work/large" "$work"/registry/docker/registry/v2/repositories/bench/large
}

# 50 ms there and back: on the wire where the kernel can, else by a proxy.
distance() {
  if inside tc qdisc add dev lo root netem delay "$LATENCY"s limit 100000 2> /dev/null; then
    line='tc netem'
    return
  fi
  line='a proxy: the kernel has no netem'
  carried=2
  nsenter --net=/run/netns/$space python3 "$here/delay.py" 5000 5001 $LATENCY &
  processes+=($!)
  registry=127.0.0.1:5000 base=127.0.0.1:5000/java:17
  until inside curl -fsS "http://$registry/v2/" > /dev/null 2>&1; do sleep 0.1; done
  context
}

declare -A line_of=()
ground
base_digest=$(inside skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$base")
application 69000000
tools=(shipway)
# Once with the network, so that Maven has all that Jib needs; then without.
if [[ "${BENCH_TOOLS:-jib}" = *jib* ]] && command -v mvn > /dev/null; then
  (cd "$work/project" && mvn -B -ntp -q com.google.cloud.tools:jib-maven-plugin:$JIB:buildTar -Djib.from.image=scratch > "$work/out" 2>&1) && tools+=(jib)
fi
if [[ "${BENCH_TOOLS:-crane}" = *crane* ]] && command -v go > /dev/null; then
  mkdir -p "$work/bin"
  GOFLAGS=-mod=mod GOBIN=$work/bin go install github.com/google/go-containerregistry/cmd/crane@$CRANE > /dev/null 2>&1 && tools+=(crane)
fi
[[ "${BENCH_TOOLS:-buildah}" = *buildah* ]] && command -v buildah > /dev/null && tools+=(buildah)
[[ "${BENCH_TOOLS:-docker}" = *docker* ]] && command -v dockerd > /dev/null && start_docker && tools+=(docker docker-jar)

printf '%s, %s cores: %s\n' "$(date -u +%F)" "$(nproc)" "${tools[*]}"
/usr/bin/time -f '%e' -o "$work/maven" mvn -B -ntp -q -o -f "$work/project/pom.xml" validate > "$work/out" 2>&1 && echo "Maven alone (validate), to be taken off Jib's seconds: $(cat "$work/maven") s"
table '69 MB, on loopback'
first_push
[ "${BENCH_LARGE:-1}" = 0 ] || large
application 69000000
distance
table "69 MB, with 50 ms of latency ($line)"
