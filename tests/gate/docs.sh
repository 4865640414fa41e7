#!/usr/bin/env bash
# The documents that the code says of itself (settings, problems, exit codes, schema), written anew by the tests that compare them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export UPDATE=1 UPDATE_GOLDEN=1
cargo test --locked --lib generated
cargo test --locked --test it report::documents
git status --short docs plugin
