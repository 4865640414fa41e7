#!/usr/bin/env bash
# The release: one static binary. The target is named so that the flag for a static C library does not reach build scripts and proc-macros.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'
cargo build --release --locked --target x86_64-unknown-linux-gnu

# Of the 20 MB that the small image may take packed, what it holds beside the binary has 4 (tests/it/package.rs).
most=16000000
packed=$(gzip -6 --stdout target/x86_64-unknown-linux-gnu/release/shipway | wc -c)
echo "the binary packed, as the image's layer has it: $((packed / 1000)) kB of at most $((most / 1000)) kB"
[ "$packed" -le $most ] || { echo 'release.sh: the image would be larger than 20 MB; see what made the binary grow (cargo bloat)' >&2; exit 1; }
