#!/usr/bin/env bash
# The release: one static binary. The target is named so that the flag for a static C library does not reach build scripts and proc-macros.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'
cargo build --release --locked --target x86_64-unknown-linux-gnu
