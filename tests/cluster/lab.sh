#!/usr/bin/env bash
# The parts that Shipway is tested against, real ones, on this machine: Kubernetes with a node where pods run, image
# registries (open, with a password, with TLS), Gitea (Bearer tokens, a Maven repository, Git), Docker, BuildKit, base
# images; beside the real node a pretended one, for thousands of pods.
#
#   lab.sh packages              install the Debian packages that are missing (as root)
#   lab.sh setup [real|kwok]     bring all that is needed: packages, components compiled once into ~/.cache/shipway, base images
#   lab.sh up [real|kwok]        start what does not run yet; a second `up` changes nothing
#   lab.sh down                  stop it all and leave nothing behind
#   lab.sh status                what runs
#   lab.sh jdks                  the JDKs 17 and 25 of this machine, as `VERSION FOLDER`
#   lab.sh env                   how to reach it, as lines for `eval "$(tests/cluster/lab.sh env)"`
#   lab.sh kubeconfig NAMESPACE  make the namespace and a service account with plugin/kubernetes/role.yaml; print its kubeconfig
#   lab.sh forget NAMESPACE      delete a namespace and all in it
#   lab.sh restart apiserver     kill the API server and start it again: what a run has to bear
#
# SHIPWAY_LAB is its folder (/tmp/shipway-lab-<user id>), LAB_<NAME>_PORT a port that must be that one (see LAB/ports).
# A machine can have one real node only: the rules of kube-proxy cannot be doubled.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in common setup base-images control-plane node kwok registries gitea docker buildkit; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

up() { # KIND
  local kind=${1:-real} begun=$SECONDS
  case $kind in
    real) [ "$(id -u)" = 0 ] || fail "a real node needs root; \`up kwok\` gives a cluster of pretended nodes without it" ;;
    kwok) ;;
    *) fail "\`up $kind\`: say real or kwok" ;;
  esac
  setup "$kind"
  alone
  running apiserver || remove # what a restart of the machine or an `up` that failed left
  mkdir -p "$LAB"
  case $kind in real) real_up ;; kwok) control_plane_up && kwok_up kwok ;; esac
  write_env > "$ENV_FILE"
  say "up after $((SECONDS - begun)) s; eval \"\$($here/lab.sh env)\" tells a shell how to reach it"
}

# Gitea, the registries, Docker and BuildKit come up while the API server does.
real_up() {
  local others name
  claim_node
  for name in api etcd etcd_peer registry registry_auth registry_tls gitea kubelet proxy_health proxy_metrics kwok; do port $name > /dev/null; done
  (registries_up && container_runtime_up && docker_up && buildkit_up && gitea_up) 9>&- &
  others=$!
  control_plane_up
  wait $others
  node_up
  kwok_up real
}

# One `up` or `down` at a time.
alone() {
  exec 9> "$LAB.lock"
  flock -n 9 || { say "waiting for another \`up\` or \`down\`" && flock 9; }
}

down() {
  alone
  [ ! -d "$LAB" ] || { remove && say "down"; }
  rm -f "$LAB.lock"
}

remove() {
  [ -d "$LAB" ] || return 0
  node_down
  docker_down
  buildkit_down
  stop kwok gitea registry registry-auth registry-tls scheduler controllers apiserver etcd
  rm -rf "$LAB"
}

status() {
  local name pid
  [ -d "$LAB/run" ] || { say "not up"; return 1; }
  for name in "$LAB"/run/*.pid; do
    name=$(basename "$name" .pid)
    if running "$name"; then
      read -r pid _ < "$LAB/run/$name.pid"
      printf '%-14s running, process %s, %s MB\n' "$name" "$pid" "$(($(sed -n 's/^VmRSS:\s*\([0-9]*\).*/\1/p' "/proc/$pid/status") / 1024))"
    else
      printf '%-14s ended, see %s\n' "$name" "$LAB/log/$name.log"
    fi
  done
}

write_env() {
  local version folder
  echo "export KUBECONFIG='$LAB/kubeconfig'"
  echo "export LAB_FOLDER='$LAB'"
  ! running kwok || echo "export LAB_KWOK_NODE='$KWOK_NODE' LAB_KWOK_LABEL='$KWOK_LABEL'"
  running registry || return 0
  echo "export LAB_REGISTRY='127.0.0.1:$(port registry)' LAB_REGISTRY_LOG='$LAB/log/registry.log'"
  echo "export LAB_REGISTRY_AUTH='127.0.0.1:$(port registry_auth)' LAB_REGISTRY_AUTH_USER='$REGISTRY_USER' LAB_REGISTRY_AUTH_PASSWORD='$REGISTRY_PASSWORD'"
  echo "export LAB_REGISTRY_TLS='localhost:$(port registry_tls)' LAB_REGISTRY_TLS_CA='$LAB/pki/registry-ca.crt'"
  while read -r version folder; do
    echo "export LAB_BASE_$version='127.0.0.1:$(port registry)/eclipse-temurin:$version-jre' LAB_JDK_$version='$folder'"
  done < <(jdks)
  echo "export LAB_WEB='127.0.0.1:$(port registry)/lab/web'"
  echo "export LAB_NPM='$NPM'"
  ! running buildkit || echo "export LAB_BUILDKIT_HOST='unix://$BUILDKIT_SOCKET' LAB_BUILDCTL='$BIN/buildctl'"
  ! running docker || echo "export LAB_DOCKER_HOST='unix://$DOCKER_SOCKET'"
  running gitea || return 0
  echo "export LAB_GITEA='$(gitea_address)' LAB_GITEA_USER='$GITEA_USER' LAB_GITEA_PASSWORD='$GITEA_PASSWORD' LAB_GITEA_TOKEN='$(cat "$LAB/gitea/token")'"
}

case ${1:-} in
  packages) packages ;;
  setup) setup "${2:-real}" ;;
  up) up "${2:-}" ;;
  down) down ;;
  status) status ;;
  jdks) jdks ;;
  env) [ -f "$ENV_FILE" ] && running apiserver || fail "not up; start it with \`make lab-up\`"; cat "$ENV_FILE" ;;
  kubeconfig) [ -n "${2:-}" ] || fail "\`kubeconfig NAMESPACE\`: name a namespace"; publisher_kubeconfig "$2" ;;
  restart) [ "${2:-}" = apiserver ] || fail "\`restart ${2:-}\`: only the API server can be"; apiserver_restart ;;
  forget) [ -n "${2:-}" ] || fail "\`forget NAMESPACE\`: name a namespace"; api DELETE "/api/v1/namespaces/$2" > /dev/null ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; [ "${1:-}" = help ] || exit 2 ;;
esac
