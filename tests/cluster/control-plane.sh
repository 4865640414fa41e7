# The control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, on loopback. Sourced by lab.sh.

control_plane_up() {
  running scheduler && return
  mkdir -p "$LAB/pki"
  credentials
  start_etcd
  start_apiserver
  await apiserver 60 api GET /readyz
  local client=(--kubeconfig="$LAB/kubeconfig" --leader-elect=false --secure-port=0 --kube-api-qps=500 --kube-api-burst=1000)
  start controllers "$BIN/kube-controller-manager" "${client[@]}" --use-service-account-credentials=true \
    --service-account-private-key-file="$LAB/pki/accounts.key" --root-ca-file="$LAB/pki/apiserver.crt" \
    --concurrent-deployment-syncs=20 --concurrent-replicaset-syncs=20
  start scheduler "$BIN/kube-scheduler" "${client[@]}"
}

# The API server makes its own serving certificate; ours are the key that signs service account tokens and one token for the administrator.
credentials() {
  openssl genrsa -out "$LAB/pki/accounts.key" 2048 2> /dev/null
  openssl rsa -in "$LAB/pki/accounts.key" -pubout -out "$LAB/pki/accounts.pub" 2> /dev/null
  openssl rand -hex 16 > "$LAB/pki/admin.token"
  echo "$(cat "$LAB/pki/admin.token"),admin,admin,\"system:masters\"" > "$LAB/pki/tokens.csv"
  kubeconfig admin "$(cat "$LAB/pki/admin.token")" default > "$LAB/kubeconfig"
}

kubeconfig() { # USER TOKEN NAMESPACE
  cat << YAML
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:$(port api)", certificate-authority: "$LAB/pki/apiserver.crt"}}]
users: [{name: $1, user: {token: "$2"}}]
contexts: [{name: lab, context: {cluster: lab, user: $1, namespace: $3}}]
current-context: lab
YAML
}

# The data does not outlive the lab, so etcd need not wait for the disk.
start_etcd() {
  local client peer
  client=http://127.0.0.1:$(port etcd) peer=http://127.0.0.1:$(port etcd_peer)
  start etcd "$BIN/etcd" --data-dir "$LAB/etcd" --unsafe-no-fsync --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
}

start_apiserver() {
  start apiserver "$BIN/kube-apiserver" --etcd-servers="http://127.0.0.1:$(port etcd)" \
    --bind-address=127.0.0.1 --secure-port="$(port api)" --cert-dir="$LAB/pki" \
    --token-auth-file="$LAB/pki/tokens.csv" --authorization-mode=Node,RBAC --allow-privileged=true \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$LAB/pki/accounts.pub" \
    --service-account-signing-key-file="$LAB/pki/accounts.key" --service-cluster-ip-range=10.96.0.0/16 \
    --kubelet-preferred-address-types=InternalIP
}

# Without a warning, as a machine goes: every watch is cut, and for some seconds nobody answers.
apiserver_restart() {
  running apiserver || fail "the API server does not run"
  signal KILL apiserver
  while running apiserver; do sleep 0.1; done
  start_apiserver
  await apiserver 60 api GET /readyz
}

# A service account that may do what plugin/kubernetes/role.yaml grants in one namespace, and a kubeconfig for it.
publisher_kubeconfig() { # NAMESPACE
  local namespace=$1 rbac=/apis/rbac.authorization.k8s.io/v1/namespaces/$1 apply='fieldManager=lab&force=true' type=application/apply-patch+yaml token
  api GET "/api/v1/namespaces/$namespace" > /dev/null 2>&1 ||
    api POST /api/v1/namespaces "{\"metadata\": {\"name\": \"$namespace\"}}" > /dev/null
  api PATCH "/api/v1/namespaces/$namespace/serviceaccounts/shipway?$apply" \
    '{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shipway"}}' $type > /dev/null
  api PATCH "$rbac/roles/shipway?$apply" "$(cat "$here/../../plugin/kubernetes/role.yaml")" $type > /dev/null
  api PATCH "$rbac/rolebindings/shipway?$apply" "{\"apiVersion\": \"rbac.authorization.k8s.io/v1\", \"kind\": \"RoleBinding\",
    \"metadata\": {\"name\": \"shipway\"}, \"roleRef\": {\"apiGroup\": \"rbac.authorization.k8s.io\", \"kind\": \"Role\", \"name\": \"shipway\"},
    \"subjects\": [{\"kind\": \"ServiceAccount\", \"name\": \"shipway\", \"namespace\": \"$namespace\"}]}" $type > /dev/null
  token=$(api POST "/api/v1/namespaces/$namespace/serviceaccounts/shipway/token" '{"spec": {"expirationSeconds": 86400}}' | jq -r .status.token)
  kubeconfig shipway "$token" "$namespace"
}
