#!/usr/bin/env bash
# Everything that must hold before a change is taken, part by part, the quickest to fail first.
#
#   test.sh [PART…]    all parts, or those named: packages format lints scripts unit maven cluster
#
# The part `cluster` uses the lab when it is up and leaves it so; else it starts it, and takes it down at the end, whatever happens.
# On a machine that has nothing it is all brought first; what cannot be (a Rust toolchain, Go, a JDK 17) is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec < /dev/null
export CARGO_TERM_PROGRESS_WHEN=never CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

PARTS=(packages format lints scripts unit maven cluster)
lab=tests/cluster/lab.sh
times=() failed='' started_lab=''

main() {
  local part
  trap ending EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  toolchain
  for part in "$@"; do
    [[ " ${PARTS[*]} " == *" $part "* ]] || { echo "test.sh: no part \`$part\`; there are: ${PARTS[*]}" >&2; exit 2; }
    section "$part"
  done
}

# A part's output as it comes, then how long it took. The function runs in this shell with -e in force, so its first failure ends all.
section() { # PART
  local begun=$SECONDS
  printf '\n=== %s ===\n' "$1"
  failed=$1
  "part_$1"
  failed=''
  times+=("$1 $((SECONDS - begun)) s")
  printf '=== %s: ok, %s s ===\n' "$1" $((SECONDS - begun))
}

ending() {
  local code=$?
  trap '' INT TERM
  if [ -n "$started_lab" ]; then
    printf '\n=== taking the lab down ===\n'
    $lab down || true
  fi
  printf '\n'
  [ ${#times[@]} = 0 ] || printf 'ok      %s\n' "${times[@]}"
  [ -z "$failed" ] || printf 'FAILED  %s (exit %s)\n' "$failed" $code
  printf 'total   %s s\n' $SECONDS
  exit $code
}

toolchain() {
  [ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
  command -v cargo > /dev/null || { echo 'no Rust toolchain on this machine: install Rust 1.95 or later with its rustfmt and clippy, https://rustup.rs' >&2; exit 1; }
}

part_packages() {
  $lab packages
  [[ $($lab jdks) == *$'\n'25\ * ]] || { echo 'the tests compile with two JDKs, and there is no JDK 25 under /usr/lib/jvm: install one, such as https://adoptium.net' >&2; return 1; }
}

part_format() { cargo fmt --check; }

part_lints() { cargo clippy --locked --all-targets -- -D warnings; }

# A syntax check always; more where shellcheck is installed. Sourced files know each other's names, which it cannot see.
part_scripts() {
  local scripts script
  scripts=$(find .ci/run benches demo tests -name '*.sh' -o -path .ci/run)
  for script in $scripts; do bash -n "$script"; done
  if command -v shellcheck > /dev/null; then
    xargs shellcheck --shell=bash --severity=warning --exclude=SC1090,SC2034,SC2153,SC2154 <<< "$scripts"
  fi
}

part_unit() { cargo test --locked --lib --bins; }

# The tests call Maven without the network and several at a time, which an empty local repository bears neither of: filled here once,
# one project after the other, and again when a pom of the fixtures changes.
part_maven() {
  local stamp fixture work
  stamp=${XDG_CACHE_HOME:-$HOME/.cache}/shipway/maven-$(cat tests/fixtures/*/pom.xml tests/fixtures/*/*/pom.xml | sha256sum | cut -c1-12)
  if [ -e "$stamp" ] && [ -d "$HOME/.m2/repository/org/springframework/boot" ]; then
    echo 'the local repository of Maven has what the fixtures need'
    return
  fi
  work=$(mktemp -d)
  for fixture in library java8 plain-service shaded-service war boot-war multi-module two-services spring-boot-service tests-fail; do
    echo "mvn package of $fixture, for what Maven has to fetch"
    cp -r "tests/fixtures/$fixture" "$work/"
    (cd "$work/$fixture" && mvn -B -q -ntp "-Dmaven.repo.local=$HOME/.m2/repository" package) > "$work/log" 2>&1 || [ $fixture = tests-fail ] || { tail -n 20 "$work/log"; return 1; }
  done
  rm -rf "$work"
  mkdir -p "$(dirname "$stamp")"
  touch "$stamp"
}

# Most of these wait for pods, not for a core, so more of them run at a time than there are cores.
part_cluster() {
  if ! $lab env > /dev/null 2>&1; then
    started_lab=yes
    $lab up
  fi
  eval "$($lab env)"
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 2))} cargo test --locked --test it
}

[ $# -gt 0 ] || set -- "${PARTS[@]}"
main "$@"
