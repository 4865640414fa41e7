# What the lab is made of, brought to a machine that has none of it: Debian's packages, and the components that
# Debian has not (or has too old), compiled from their Go modules into BIN. Sourced by lab.sh.

PACKAGES=(containerd runc containernetworking-plugins iptables iproute2 procps docker-registry docker.io buildah zookeeper libfaketime rabbitmq-server postgresql-15
  openssl apache2-utils skopeo chromium bzip2 xz-utils busybox-static jq curl rsync git gcc libc6-dev make maven openjdk-17-jdk-headless)
KUBERNETES=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

setup() { # real|kwok
  packages
  mkdir -p "$BIN"
  exec 8> "$BIN/.lock"
  flock -n 8 || { say "waiting for another setup on this machine"; flock 8; }
  component "$KUBERNETES_VERSION" build_kubernetes "${KUBERNETES[@]}"
  component "$ETCD_VERSION" build_etcd etcd
  component "$KWOK_VERSION" build_kwok kwok
  if [ "$1" = real ]; then
    component "$GITEA_VERSION" build_gitea gitea
    component "$BUILDKIT_VERSION" build_buildkit buildctl buildkitd
    component "$HELM_VERSION" build_helm helm
    npm_programs
    base_images
  fi
  flock -u 8
}

# --- Debian's packages ---

packages() { install_missing "${PACKAGES[@]}"; }

install_missing() { # PACKAGE…
  local missing
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  command -v apt-get > /dev/null || fail "this is no Debian machine; bring what these packages hold: $missing"
  [ "$(id -u)" = 0 ] || fail "not root; install these packages first: apt-get install $missing"
  # shellcheck disable=SC2086
  timed "installing $(wc -w <<< "$missing") packages: $missing" install_packages $missing
}

missing_packages() { # PACKAGE…
  comm -23 <(printf '%s\n' "$@" | sort) <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2> /dev/null | sed -n 's/^ii  //p' | sort -u) | xargs
}

# Debian would start the services of the packages at once; the lab starts its own, on its own ports.
install_packages() {
  local policy=/usr/sbin/policy-rc.d status=0
  [ -e $policy ] && policy= || { printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy; }
  apt_get update -q && apt_get install -y -q --no-install-recommends "$@" || status=$?
  [ -z "$policy" ] || rm -f "$policy"
  [ $status = 0 ] || fail "apt-get failed, see $CACHE/apt.log"
}

apt_get() {
  mkdir -p "$CACHE"
  DEBIAN_FRONTEND=noninteractive apt-get "$@" 2>&1 | tee "$CACHE/apt.log" | sed -un 's/^Setting up \([^ ]*\).*/lab:   \1/p' >&2
}

# --- programs from npm: what runs GitLab's pipelines, the Node.js that it wants, what leads a browser and judges its pages ---

NPM=$CACHE/npm/node_modules/.bin
NPM_PROGRAMS=(gitlab-ci-local@4.75.0 node@22.23.3 playwright-core@1.65.1 axe-core@4.14.1)

npm_programs() {
  [ "$(cat "$CACHE/npm/.programs" 2> /dev/null)" != "${NPM_PROGRAMS[*]}" ] || return 0
  command -v npm > /dev/null || fail 'no npm on this machine: install Node.js 20 or later'
  mkdir -p "$CACHE/npm"
  timed "fetching ${NPM_PROGRAMS[*]} from npm" npm install --prefix "$CACHE/npm" --no-audit --no-fund --loglevel=error "${NPM_PROGRAMS[@]}"
  echo "${NPM_PROGRAMS[*]}" > "$CACHE/npm/.programs"
}

# --- components compiled from Go modules ---

built() { # NAME VERSION
  [ -x "$BIN/$1" ] && [ "$(cat "$BIN/$1.version" 2> /dev/null)" = "$2" ]
}

# Compiles what is not there in that version. A binary without our mark is believed when Go's own build record names the version.
component() { # VERSION BUILD NAME…
  local version=$1 build=$2 name todo=()
  shift 2
  for name in "$@"; do
    if ! built "$name" "$version" && [ -x "$BIN/$name" ] && go version -m "$BIN/$name" 2> /dev/null | grep -P "^\t(mod|dep)\t\S+\tv\Q$version\E\t" > /dev/null; then
      echo "$version" > "$BIN/$name.version"
    fi
    built "$name" "$version" || todo+=("$name")
  done
  [ ${#todo[@]} -gt 0 ] || return 0
  go_there
  timed "compiling ${todo[*]} $version (kept in $BIN; about $(minutes "$build") minutes on 2 cores)" in_workspace "$build" "${todo[@]}"
  for name in "${todo[@]}"; do echo "$version" > "$BIN/$name.version"; done
}

minutes() { case $1 in build_kubernetes) echo 6 ;; build_gitea) echo 4 ;; build_buildkit) echo 3 ;; *) echo 1 ;; esac; }

# Go 1.21 and later fetch the version that a component asks for by themselves. Where there is none, Debian's older one fetches
# a newer one, which is published as a Go module, too.
go_there() {
  go_is_new "$(command -v go || true)" && return
  export PATH=$CACHE/go/bin:$PATH
  go_is_new "$CACHE/go/bin/go" && return
  command -v go > /dev/null || install_missing golang-go
  timed "fetching Go $GO_VERSION" in_workspace fetch_go
  go_is_new "$CACHE/go/bin/go" || fail "Go $GO_VERSION did not arrive: install Go 1.21 or later, https://go.dev/doc/install"
}

go_is_new() { # GO
  local version
  [ -x "$1" ] && version=$(GOTOOLCHAIN=local "$1" env GOVERSION) && [ "$(printf '%s\n' go1.21 "$version" | sort -V | head -n 1)" = go1.21 ]
}

# The module's files have lost their right to be executed.
fetch_go() {
  local module
  go mod init fetch 2> /dev/null
  module=$(module_folder "golang.org/toolchain@v0.0.1-go$GO_VERSION.linux-$(go env GOARCH)")
  rm -rf "$CACHE/go"
  mkdir -p "$CACHE"
  cp -r --no-preserve=mode "$module" "$CACHE/go"
  chmod +x "$CACHE"/go/bin/* "$CACHE"/go/pkg/tool/*/*
}

in_workspace() { # COMMAND…
  local workspace
  workspace=$(mktemp -d)
  (cd "$workspace" && "$@") || { rm -rf "$workspace"; fail "that did not succeed, see $BIN/build.log"; }
  rm -rf "$workspace"
}

# One compiler run for all packages given, so that linking one overlaps with compiling the next; says each 10 s how far it is.
compile() { # PACKAGE… with GO_FLAGS
  local begun=$SECONDS said=$SECONDS compiler
  go mod tidy > "$BIN/build.log" 2>&1 &
  wait $! || { tail -n 5 "$BIN/build.log" >&2; return 1; }
  go build -v -trimpath "${GO_FLAGS[@]}" -o "$BIN/" "$@" > "$BIN/build.log" 2>&1 &
  compiler=$!
  # a background process does not hear Ctrl-C; its number is written into the trap, which outlives this function's variables
  # shellcheck disable=SC2064
  trap "kill $compiler 2> /dev/null || true" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  while kill -0 $compiler 2> /dev/null; do
    if [ $((SECONDS - said)) -ge 10 ]; then
      said=$SECONDS
      say "  $(wc -l < "$BIN/build.log") Go packages compiled, $((SECONDS - begun)) s"
    fi
    sleep 1
  done
  wait $compiler || { tail -n 5 "$BIN/build.log" >&2; return 1; }
  trap - EXIT
}

module_folder() { # MODULE@VERSION
  go mod download -json "$1" | jq -r .Dir
}

# The staging modules that k8s.io/kubernetes replaces by folders of its own are published as v0.x of the same release.
build_kubernetes() { # NAME…
  local folder module
  export CGO_ENABLED=0
  printf 'module cluster\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n' $KUBERNETES_VERSION > go.mod
  folder=$(module_folder "k8s.io/kubernetes@v$KUBERNETES_VERSION")
  for module in $(sed -nE 's|^\s+(k8s.io/[a-z0-9-]+) => ./staging.*|\1|p' "$folder/go.mod"); do
    echo "replace $module => $module v0.${KUBERNETES_VERSION#1.}" >> go.mod
  done
  { echo 'package cluster'; printf 'import _ "k8s.io/kubernetes/cmd/%s"\n' "$@"; } > components.go
  GO_FLAGS=(-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$KUBERNETES_VERSION")
  compile "${@/#/k8s.io/kubernetes/cmd/}"
}

# Debian's etcd 3.4 has no watch progress requests: the API server then serves some watches up to 30 s late.
build_etcd() {
  export CGO_ENABLED=0
  printf 'module etcd\n\ngo 1.26.0\n\ntool go.etcd.io/etcd/server/v3\n\nrequire go.etcd.io/etcd/server/v3 v%s\n' $ETCD_VERSION > go.mod
  GO_FLAGS=(-ldflags '-s -w')
  compile go.etcd.io/etcd/server/v3
  mv "$BIN/v3" "$BIN/etcd" 2> /dev/null || mv "$BIN/server" "$BIN/etcd" 2> /dev/null || [ -x "$BIN/etcd" ]
}

# Gitea reads its templates and locales from a folder; they are kept beside the binary, so that Go's cache may be emptied.
build_gitea() {
  local folder
  export CGO_ENABLED=1
  printf 'module gitea\n\ngo 1.26.0\n' > go.mod
  folder=$(module_folder "code.gitea.io/gitea@v$GITEA_VERSION")
  printf '\ntool code.gitea.io/gitea\n\nrequire code.gitea.io/gitea v%s\n\n' $GITEA_VERSION >> go.mod
  grep '^replace ' "$folder/go.mod" >> go.mod
  GO_FLAGS=(-tags 'sqlite sqlite_unlock_notify' -ldflags '-s -w')
  compile code.gitea.io/gitea
}

# What Shipway is measured against, and what made the applications that it takes over.
build_helm() {
  export CGO_ENABLED=0
  printf 'module helm\n\ngo 1.26.0\n\ntool helm.sh/helm/v4/cmd/helm\n\nrequire helm.sh/helm/v4 v%s\n' $HELM_VERSION > go.mod
  GO_FLAGS=(-ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$HELM_VERSION")
  compile helm.sh/helm/v4/cmd/helm
}

build_buildkit() { # NAME…
  local name
  export CGO_ENABLED=0
  printf 'module buildkit\n\ngo 1.26.0\n\n' > go.mod
  for name in "$@"; do printf 'tool github.com/moby/buildkit/cmd/%s\n' "$name"; done >> go.mod
  printf '\nrequire github.com/moby/buildkit v%s\n' $BUILDKIT_VERSION >> go.mod
  GO_FLAGS=(-ldflags '-s -w')
  compile "${@/#/github.com/moby/buildkit/cmd/}"
}

# What a pretended node and pod do comes from the same module: a pod is ready at once, its deletion is instant.
build_kwok() {
  local folder stage
  export CGO_ENABLED=0
  printf 'module kwok\n\ngo 1.26.0\n\ntool sigs.k8s.io/kwok/cmd/kwok\n\nrequire sigs.k8s.io/kwok v%s\n' $KWOK_VERSION > go.mod
  GO_FLAGS=(-ldflags '-s -w')
  compile sigs.k8s.io/kwok/cmd/kwok
  folder=$(module_folder "sigs.k8s.io/kwok@v$KWOK_VERSION")
  for stage in "$folder"/kustomize/stage/{node/fast,node/heartbeat-with-lease,pod/fast}/*.yaml; do
    case $stage in */kustomization.yaml) ;; *) echo ---; cat "$stage" ;; esac
  done > "$BIN/kwok-stages.yaml"
}
