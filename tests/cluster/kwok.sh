# Pretended nodes, by KWOK: thousands of pods that only say that they run. Sourced by lab.sh.
#
# Only nodes with the annotation `kwok.x-k8s.io/node: fake` are KWOK's; any test may add its own. In the lab with a real node the
# pretended one is tainted, so that a pod lands on it only on purpose: by selector and toleration, or for being in a namespace
# with the label `lab/pods: pretended`, where both are added to every pod that is made.

KWOK_NODE=kwok-0
KWOK_LABEL=lab/node=pretended

kwok_up() { # real|kwok
  running kwok && return
  {
    printf 'apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\n'
    printf 'options: {podPlayStageParallelism: 16, nodePlayStageParallelism: 4, nodeLeaseParallelism: 4}\n'
    cat "$BIN/kwok-stages.yaml"
  } > "$LAB/kwok.yaml"
  start kwok "$BIN/kwok" --kubeconfig="$LAB/kubeconfig" --config="$LAB/kwok.yaml" --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
    --cidr=10.128.0.1/16 --server-address="127.0.0.1:$(port kwok)" --node-lease-duration-seconds=40
  pretended_node "$1"
  [ "$1" != real ] || pretended_namespaces
  await kwok 30 kwok_ready
}

pretended_node() { # real|kwok
  local room='{"cpu": "4000", "memory": "8000Gi", "pods": "100000"}' taints='[]'
  [ "$1" != real ] || taints='[{"key": "lab/node", "value": "pretended", "effect": "NoSchedule"}]'
  api GET "/api/v1/nodes/$KWOK_NODE" > /dev/null 2>&1 ||
    api POST /api/v1/nodes "{\"metadata\": {\"name\": \"$KWOK_NODE\", \"annotations\": {\"kwok.x-k8s.io/node\": \"fake\"},
      \"labels\": {\"${KWOK_LABEL%=*}\": \"${KWOK_LABEL#*=}\", \"kubernetes.io/hostname\": \"$KWOK_NODE\", \"kubernetes.io/os\": \"linux\", \"kubernetes.io/arch\": \"amd64\"}},
      \"spec\": {\"taints\": $taints}, \"status\": {\"allocatable\": $room, \"capacity\": $room}}" > /dev/null
}

# What the workload under test says of its pods stays as it is: the API server itself sends them to the pretended node.
pretended_namespaces() {
  local admission=/apis/admissionregistration.k8s.io/v1 apply='fieldManager=lab&force=true' type=application/apply-patch+yaml
  api PATCH "$admission/mutatingadmissionpolicies/pretended-pods?$apply" "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: pretended-pods}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {lab/pods: pretended}}
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          [JSONPatch{op: 'add', path: '/spec/nodeSelector', value: {'lab/node': 'pretended'}}] +
          (has(object.spec.tolerations)
            ? [JSONPatch{op: 'add', path: '/spec/tolerations/-', value: Object.spec.tolerations{key: 'lab/node', operator: 'Exists'}}]
            : [JSONPatch{op: 'add', path: '/spec/tolerations', value: [Object.spec.tolerations{key: 'lab/node', operator: 'Exists'}]}])
" $type > /dev/null
  api PATCH "$admission/mutatingadmissionpolicybindings/pretended-pods?$apply" "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: pretended-pods}
spec: {policyName: pretended-pods}
" $type > /dev/null
}

kwok_ready() { api GET "/api/v1/nodes/$KWOK_NODE" | jq -e 'any(.status.conditions[]; .type == "Ready" and .status == "True")'; }
