#!/usr/bin/env bash
# The release: one static binary. The target is named so that the flag for a static C library does not reach build scripts and proc-macros.
# Then the small image is weighed, as Shipway's own engine packs it: 20 MB at most.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'
cargo build --release --locked --target x86_64-unknown-linux-gnu

shipway=$PWD/target/x86_64-unknown-linux-gnu/release/shipway
most=20000000
command -v busybox > /dev/null || { echo 'release.sh: the image is not weighed, as there is no busybox for it; install busybox-static' >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/gate/context.sh "$work/context" "$shipway"
cp Dockerfile "$work"
printf 'app: shipway\nbuild: {command: ["true"]}\nimage: {dockerfile: Dockerfile, context: context}\n' > "$work/shipway.yaml"
(cd "$work" && env -i PATH="$PATH" HOME="$work" "$shipway" image) > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
weight=$(find "$work/shipway-report/image/blobs" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
echo "the image \`shipway\`, packed: $((weight / 1000)) kB of at most $((most / 1000)) kB"
[ "$weight" -le $most ] || { echo 'release.sh: the image is too large; see what made the binary grow' >&2; exit 1; }
