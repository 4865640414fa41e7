#!/usr/bin/env bash
# From a commit to running pods, watched: a sample Spring Boot application goes through three GitLab jobs as a company's
# pipeline would run them: a first rollout, an update while requests go to the service, and a version that crashes.
#
#   demo.sh         all of it; on a Debian machine as root with a cluster and registry of its own (tests/cluster), elsewhere
#                   with those that KUBECONFIG, SHIPWAY_REGISTRY_URL and SHIPWAY_IMAGE_BASE name
#   demo.sh down    end what it left running
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
lab=$root/tests/cluster/lab.sh
folder=${SHIPWAY_DEMO:-/tmp/shipway-demo-$UID}
shipway=${DEMO_BINARY:-$root/target/x86_64-unknown-linux-gnu/release/shipway}
namespace=${SHIPWAY_KUBERNETES_NAMESPACE:-shipway-demo}
project=$folder/order-service
begun=$SECONDS stop='make demo-down' requests='' pipeline=$(date +%s) # a pipeline's number only ever grows, over all runs of the demo
exec < /dev/null

. "$here/gitlab.sh"
. "$here/requests.sh"

main() {
  trap ending EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  chapter 'What the demo stands on'
  cluster
  binary
  sample
  first_rollout
  update_under_load
  crash_and_rollback
  farewell
}

chapter() { printf '\n\033[1m%s\033[0m\n' "$*" | plain_when_no_terminal; }
say() { printf 'demo: %s\n' "$*"; }
fail() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
plain_when_no_terminal() { if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }

ending() {
  local code=$?
  [ -z "$requests" ] || kill "$requests" 2> /dev/null || true
  [ $code = 0 ] || printf '\ndemo: ended early (exit %s); `make demo-down` ends what runs\n' $code >&2
}

# The lab of tests/cluster where it can run, else what the user names.
cluster() {
  if [ -n "${KUBECONFIG:-}" ] && [ -n "${SHIPWAY_REGISTRY_URL:-}" ]; then
    tools
    say "the cluster of KUBECONFIG and the registry $SHIPWAY_REGISTRY_URL, as you named them"
    export SHIPWAY_KUBERNETES_CREATE_NAMESPACE=${SHIPWAY_KUBERNETES_CREATE_NAMESPACE:-true}
    stop="kubectl -n $namespace delete deployment,service order-service"
    return
  fi
  command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || fail "a cluster and registry of its own needs root on a Debian machine; \
to use yours, set KUBECONFIG, SHIPWAY_REGISTRY_URL (with SHIPWAY_REGISTRY_USERNAME and SHIPWAY_REGISTRY_PASSWORD_FILE where it asks for them) and, \
where the nodes or you cannot reach docker.io, SHIPWAY_IMAGE_BASE; missing now:$([ -n "${KUBECONFIG:-}" ] || echo ' KUBECONFIG')$([ -n "${SHIPWAY_REGISTRY_URL:-}" ] || echo ' SHIPWAY_REGISTRY_URL')"
  "$lab" up
  eval "$("$lab" env)"
  mkdir -p "$folder"
  "$lab" kubeconfig "$namespace" > "$folder/kubeconfig"
  export KUBECONFIG=$folder/kubeconfig SHIPWAY_REGISTRY_URL=$LAB_REGISTRY SHIPWAY_IMAGE_BASE=$LAB_BASE_17
  say "a real cluster, used with the rights of plugin/kubernetes/role.yaml in the namespace $namespace; a registry at $LAB_REGISTRY"
}

# On a Debian machine as root the lab brings them.
tools() {
  local tool missing=''
  for tool in cargo git mvn javac curl jq; do command -v $tool > /dev/null || missing+=" $tool"; done
  [ -z "$missing" ] || fail "install these first:$missing"
}

# DEMO_BINARY spares the build.
binary() {
  [ -z "${DEMO_BINARY:-}" ] || return 0
  local what='building Shipway'
  [ -x "$shipway" ] || what='building Shipway (three to four minutes the first time)'
  say "$what"
  "$root/tests/gate/release.sh" || fail 'Shipway did not build'
  say "$("$shipway" version | head -n 1), $(($(stat -c %s "$shipway") / 1000000)) MB"
}

sample() {
  rm -rf "$project"
  mkdir -p "$project"
  cp -r "$root/tests/fixtures/spring-boot-service/." "$project"
  rm -rf "$project/target"
  printf 'target/\nshipway-report/\n' > "$project/.gitignore"
  repository init --quiet --initial-branch=main
  commit 'Answer with the version'
  say "the sample application is in $project: a pom.xml and two classes, no Dockerfile, no manifest, no shipway.yaml"
}

first_rollout() {
  chapter '1  The first rollout'
  gitlab_job || fail "the first rollout failed with exit code $?; its report is in $project/shipway-report"
  url=$(jq -r '.url // empty' "$project/shipway-report/report.json")
  [ "$(answer)" = 'order-service 1.0.0' ] || fail "$url answers \"$(answer)\""
  say "first rollout done $((SECONDS - begun)) s after the start: $url answers \"$(answer)\""
}

update_under_load() {
  chapter '2  A second version, while requests go to the service'
  change pom.xml '0,/<version>1.0.0</s//<version>2.0.0</'
  commit 'Release 2.0.0'
  requests_begin
  gitlab_job || fail "the update failed with exit code $?; its report is in $project/shipway-report"
  requests_end
  [ "$(answer)" = 'order-service 2.0.0' ] || fail "$url answers \"$(answer)\""
}

crash_and_rollback() {
  local code=0
  chapter '3  A third version, which crashes at its start'
  change pom.xml '0,/<version>2.0.0</s//<version>3.0.0</'
  change src/main/java/com/example/trade/order/OrderServiceApplication.java \
    's/^\( *\)SpringApplication.run.*/\1throw new IllegalStateException("no database is configured: set DATABASE_URL");/; /import .*SpringApplication;/d'
  commit 'Release 3.0.0'
  requests_begin
  gitlab_job || code=$?
  requests_end
  [ $code = 50 ] || fail "the crash was to end with exit code 50 (failed and restored), not $code"
  say "exit code 50: failed, and restored; $url still answers \"$(answer)\""
}

farewell() {
  chapter 'What is left to look at'
  cat << TEXT
service    $url
report     $project/shipway-report/report.html
job        three lines of .gitlab-ci.yml: see ci-examples/
pods       KUBECONFIG=$KUBECONFIG kubectl -n $namespace get deployments,pods
stop it    $stop
time       $((SECONDS - begun)) s
TEXT
  ! command -v kubectl > /dev/null || kubectl -n "$namespace" get deployments,pods
}

down() {
  [ ! -d "$folder" ] || rm -rf "$folder"
  "$lab" down
}

case ${1:-} in
  '') main ;;
  down) down ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
