# The sample's repository, and GitLab's part: what its runner puts into the environment of a job. Sourced by demo.sh.

repository() {
  GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$project" -c user.name='Dana Developer' -c user.email=dana@example.test "$@"
}

commit() { # MESSAGE
  repository add --all
  repository commit --quiet --message "$1"
  say "commit $(repository rev-parse --short=12 HEAD): $1"
}

# Edits a file of the sample; a change that changes nothing is an error of the demo.
change() { # FILE SED-SCRIPT
  local before
  before=$(cat "$project/$1")
  sed -i "$2" "$project/$1"
  [ "$before" != "$(cat "$project/$1")" ] || fail "$1 did not change"
}

# Runs Shipway as a job of a pipeline of the default branch: with these variables and no other.
gitlab_job() {
  local sha settings
  mapfile -t settings < <(settings_of_user)
  sha=$(repository rev-parse HEAD)
  pipeline=$((pipeline + 1))
  say "job $pipeline, script: shipway"
  (cd "$project" && env -i PATH="$PATH" HOME="$HOME" TERM="${TERM:-dumb}" \
    CI=true GITLAB_CI=true CI_SERVER_URL=https://gitlab.example.test CI_SERVER_HOST=gitlab.example.test \
    CI_PROJECT_DIR="$project" CI_PROJECT_ID=7 CI_PROJECT_NAME=order-service CI_PROJECT_NAMESPACE=trade CI_PROJECT_PATH=trade/order-service \
    CI_PROJECT_URL=https://gitlab.example.test/trade/order-service CI_DEFAULT_BRANCH=main CI_COMMIT_BRANCH=main CI_COMMIT_REF_NAME=main \
    CI_COMMIT_REF_SLUG=main CI_COMMIT_SHA="$sha" CI_COMMIT_SHORT_SHA="${sha:0:8}" CI_COMMIT_TITLE="$(repository log -1 --format=%s)" \
    CI_COMMIT_AUTHOR="$(repository log -1 --format='%an <%ae>')" CI_COMMIT_TIMESTAMP="$(repository log -1 --format=%cI)" \
    CI_PIPELINE_ID=$pipeline CI_PIPELINE_IID=$pipeline CI_PIPELINE_SOURCE=push CI_JOB_ID=$((pipeline * 10)) CI_JOB_NAME=publish \
    CI_JOB_URL="https://gitlab.example.test/trade/order-service/-/jobs/$((pipeline * 10))" \
    KUBECONFIG="$KUBECONFIG" SHIPWAY_KUBERNETES_NAMESPACE="$namespace" SHIPWAY_KUBERNETES_SERVICE_TYPE=NodePort \
    "${settings[@]}" "$shipway")
}

# The registry and base image, and whatever else of Shipway's own settings the user has in the environment.
settings_of_user() {
  env | grep -E '^SHIPWAY_[A-Z_]+=[^[:space:]]+$' | grep -vE '^SHIPWAY_(DEMO|LAB|KUBERNETES_NAMESPACE|KUBERNETES_SERVICE_TYPE)=' || true
}
