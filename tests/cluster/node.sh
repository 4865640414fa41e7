# A real node: containerd, kubelet, kube-proxy and a bridge; pods really run. Needs root. Sourced by lab.sh.

BRIDGE=shipway0
NODE_OWNER=/run/shipway-lab-node # names the lab whose node this machine carries
SOCKET=$LAB/containerd.sock

node_up() {
  running proxy && return
  container_runtime_up
  await containerd 30 test -S "$SOCKET"
  kubelet_up
  proxy_up
  await kubelet 60 node_ready
}

# Before anything starts: bridge and rules belong to the machine, and so to one lab.
claim_node() {
  local owner
  owner=$(cat $NODE_OWNER 2> /dev/null || true)
  if [ -n "$owner" ] && [ "$owner" != "$LAB" ] && LAB=$owner running kubelet; then
    fail "the node of the lab in $owner runs on this machine, which can have one only; use that one (SHIPWAY_LAB=$owner), or end it with \`down\`"
  fi
  echo "$LAB" > $NODE_OWNER
}

node_ready() { api GET /api/v1/nodes/node1 | jq -e 'any(.status.conditions[]; .type == "Ready" and .status == "True")'; }

# Kept apart from the API server's start, which it need not wait for.
container_runtime_up() {
  ! running containerd || return 0
  mkdir -p "$LAB/cni"
  cat > "$LAB/cni/10-bridge.conflist" << JSON
{"cniVersion": "0.4.0", "name": "shipway-lab", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$LAB/cni/addresses", "ranges": [[{"subnet": "10.244.0.0/22"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  cat > "$LAB/containerd.toml" << TOML
version = 2
root = "$LAB/containerd/root"
state = "$LAB/containerd/state"
[grpc]
  address = "$SOCKET"
[ttrpc]
  address = "$SOCKET.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "127.0.0.1:$(port registry)/lab/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  max_concurrent_downloads = 10
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$LAB/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$LAB/cni"
TOML
  # what the node's presence changes in the kernel is put back by `down`
  sysctl net.ipv4.ip_forward net.ipv4.conf.all.route_localnet > "$LAB/sysctl.before"
  start containerd containerd -c "$LAB/containerd.toml"
}

# The limits that a real node has against many at once (pulls one by one, events and pulls by the second, full disks of a
# shared machine) would make tests wait for each other; nothing here changes how one application behaves. For events 0 would not mean
# without a limit, as it does for pulls, but the client's own default of 5 a second.
# The DNS address answers nothing; without one every pod gets a warning event that no real cluster has.
kubelet_up() {
  cat > "$LAB/kubelet.yaml" << YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$SOCKET
port: $(port kubelet)
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
resolvConf: /etc/resolv.conf
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
podLogsDir: $LAB/pods
maxPods: 500
podPidsLimit: 4096
serializeImagePulls: false
maxParallelImagePulls: 8
registryPullQPS: 0
eventRecordQPS: 1000
eventBurst: 2000
kubeAPIQPS: 200
kubeAPIBurst: 400
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
YAML
  start kubelet "$BIN/kubelet" --config="$LAB/kubelet.yaml" --kubeconfig="$LAB/kubeconfig" --root-dir="$LAB/kubelet" --cert-dir="$LAB/kubelet/pki" --hostname-override=node1
}

proxy_up() {
  cat > "$LAB/proxy.yaml" << YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: "$LAB/kubeconfig"}
clusterCIDR: 10.244.0.0/16
hostnameOverride: node1
healthzBindAddress: 127.0.0.1:$(port proxy_health)
metricsBindAddress: 127.0.0.1:$(port proxy_metrics)
conntrack: {maxPerCore: 0, min: 0}
iptables: {syncPeriod: 30s, minSyncPeriod: 100ms}
YAML
  start proxy "$BIN/kube-proxy" --config="$LAB/proxy.yaml"
}

node_down() {
  [ "$(cat $NODE_OWNER 2> /dev/null)" = "$LAB" ] || return 0
  stop proxy kubelet
  end_containers
  stop containerd
  # what was mounted for pods, and the folders that kubelet and the network plugins keep outside the lab's own
  awk -v lab="$LAB/" 'index($2, lab) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  ip link delete "$BRIDGE" 2> /dev/null || true
  find /var/log/containers -lname "$LAB/*" -delete 2> /dev/null || true
  find /var/lib/cni/results -name 'shipway-lab-*' 2> /dev/null | sed -E 's|(.*/)shipway-lab-([0-9a-f]+)-.*|& \1cni-loopback-\2-lo|' | xargs -r rm -f
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet /var/lib/cni/results /var/lib/cni \
    /run/containerd/runc/k8s.io /run/containerd/runc /run/containerd/s /run/containerd 2> /dev/null || true
  find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2> /dev/null || true
  remove_rules
  [ ! -f "$LAB/sysctl.before" ] || sysctl -q -p "$LAB/sysctl.before" > /dev/null
  rm -f $NODE_OWNER
}

# Containers outlive containerd: each is ended through its runtime, then the shims that are left by their own address.
end_containers() {
  local tasks shim
  tasks=$(ctr -a "$SOCKET" -n k8s.io tasks list -q 2> /dev/null || true)
  [ -z "$tasks" ] || xargs -r -P 8 -n 1 ctr -a "$SOCKET" -n k8s.io tasks delete --force <<< "$tasks" > /dev/null 2>&1 || true
  for shim in /proc/[0-9]*; do
    if { tr '\0' ' ' < "$shim/cmdline"; } 2> /dev/null | grep -- "containerd-shim.* -address $SOCKET " > /dev/null; then
      kill -KILL "${shim#/proc/}" 2> /dev/null || true
    fi
  done
}

# kube-proxy takes its own rules away; the chains that kubelet keeps as a canary are left, and then those that refer to them.
remove_rules() {
  local command table chain
  for command in iptables ip6tables; do
    command -v $command > /dev/null || continue
    for table in filter nat mangle; do
      # jumps from the built-in chains first, then the chains emptied, then deleted
      $command -t $table -S 2> /dev/null | sed -n 's/^-A \([A-Z]*\) \(.*-j KUBE-.*\)$/-D \1 \2/p' |
        while read -r rule; do xargs $command -t $table <<< "$rule" 2> /dev/null || true; done
      for flag in -F -X; do
        $command -t $table -S 2> /dev/null | sed -n 's/^-N \(KUBE-.*\)$/\1/p' |
          while read -r chain; do $command -t $table $flag "$chain" 2> /dev/null || true; done
      done
    done
  done
}
