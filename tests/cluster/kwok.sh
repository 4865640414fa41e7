# A pretended node, by KWOK: thousands of pods that only say that they run. Sourced by lab.sh.

kwok_up() {
  running kwok && return
  {
    printf 'apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\n'
    printf 'options: {podPlayStageParallelism: 16, nodePlayStageParallelism: 4, nodeLeaseParallelism: 4}\n'
    cat "$BIN/kwok-stages.yaml"
  } > "$LAB/kwok.yaml"
  start kwok "$BIN/kwok" --kubeconfig="$LAB/kubeconfig" --config="$LAB/kwok.yaml" --manage-all-nodes=true \
    --server-address="127.0.0.1:$(port kwok)" --node-lease-duration-seconds=40
  local room='{"cpu": "4000", "memory": "8000Gi", "pods": "100000"}'
  api POST /api/v1/nodes "{\"metadata\": {\"name\": \"kwok-0\", \"annotations\": {\"kwok.x-k8s.io/node\": \"fake\"}},
    \"status\": {\"allocatable\": $room, \"capacity\": $room}}" > /dev/null
  await kwok 30 kwok_ready
}

kwok_ready() { api GET /api/v1/nodes/kwok-0 | jq -e 'any(.status.conditions[]; .type == "Ready" and .status == "True")'; }
