#!/usr/bin/env bash
# Both images of the Dockerfile, by Docker: shipway and shipway-maven, tagged with the version of Cargo.toml and latest.
#
#   image.sh [DOCKER-BUILD-ARGUMENT…]   such as --build-arg MAVEN=registry.example.test/maven:3.9
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/gate/release.sh
tests/gate/context.sh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p;T;q' Cargo.toml)
for target in shipway shipway-maven; do
  docker build --file Dockerfile --target $target --tag "$target:$version" --tag "$target:latest" "$@" target/image
done
