# A Docker engine: Debian's docker.io, with the classic builder and BuildKit. No network of its own (no bridge, no rules of iptables):
# it takes base images from the registries on loopback. A RUN has no network; BuildKit wants that said: --network none, or host.
# Sourced by lab.sh.

DOCKER_SOCKET=$LAB/docker.sock
DOCKER_GROUP=shipway-lab-docker # of its containers

docker_up() {
  running docker && return
  mkdir -p "$LAB/docker"
  cat > "$LAB/docker/daemon.json" << JSON
{"hosts": ["unix://$DOCKER_SOCKET"], "data-root": "$LAB/docker/data", "exec-root": "$LAB/docker/run", "pidfile": "$LAB/docker/pid",
 "deprecated-key-path": "$LAB/docker/key.json", "bridge": "none", "iptables": false, "ip-masq": false, "ip-forward": false,
 "cgroup-parent": "$DOCKER_GROUP", "storage-driver": "overlay2", "shutdown-timeout": 1, "log-level": "warn"}
JSON
  start docker dockerd --config-file "$LAB/docker/daemon.json"
  await docker 30 curl -fsS --unix-socket "$DOCKER_SOCKET" http://docker/_ping
}

# Its containerd ends with it; what it mounted, and the control groups of its containers, may be left.
docker_down() {
  stop docker
  awk -v folder="$LAB/docker/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  rmdir /run/docker/plugins /run/docker 2> /dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/$DOCKER_GROUP*" -exec rmdir {} + 2> /dev/null || true
}
