# BuildKit's daemon, compiled from its Go module: it takes base images from the registries on loopback, and a RUN has this machine's
# network. Sourced by lab.sh.

BUILDKIT_SOCKET=$LAB/buildkit.sock

buildkit_up() {
  running buildkit && return
  mkdir -p "$LAB/buildkit"
  cat > "$LAB/buildkit/buildkitd.toml" << TOML
root = "$LAB/buildkit/data"
[grpc]
  address = ["unix://$BUILDKIT_SOCKET"]
[worker.oci]
  networkMode = "host"
[worker.containerd]
  enabled = false
[registry."127.0.0.1:$(port registry)"]
  http = true
[registry."127.0.0.1:$(port registry_auth)"]
  http = true
TOML
  start buildkit "$BIN/buildkitd" --config "$LAB/buildkit/buildkitd.toml"
  await buildkit 20 "$BIN/buildctl" --addr "unix://$BUILDKIT_SOCKET" debug workers
}

# What its containers mounted may be left.
buildkit_down() {
  stop buildkit
  awk -v folder="$LAB/buildkit/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
}
