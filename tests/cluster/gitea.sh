# A real code host on loopback, Gitea: Git over HTTP, pull requests, an image registry with Bearer tokens at /v2/, a Maven
# repository at /api/packages/dev/maven. Its database is a file. Sourced by lab.sh.

GITEA_USER=dev GITEA_PASSWORD=dev-password-1

gitea_up() {
  running gitea && return
  mkdir -p "$LAB/gitea"
  gitea_settings > "$LAB/gitea/app.ini"
  local gitea=(env GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT=true "$BIN/gitea" --config "$LAB/gitea/app.ini")
  "${gitea[@]}" migrate > "$LAB/gitea/setup.log" 2>&1 || fail "gitea could not make its database, see $LAB/gitea/setup.log"
  "${gitea[@]}" admin user create --username $GITEA_USER --password $GITEA_PASSWORD --email dev@example.test --admin \
    --must-change-password=false >> "$LAB/gitea/setup.log" 2>&1 || fail "gitea made no user, see $LAB/gitea/setup.log"
  start gitea "${gitea[@]}" web
  await gitea 30 curl -fsS "http://$(gitea_address)/api/v1/version"
  curl -fsS -u $GITEA_USER:$GITEA_PASSWORD -X POST "http://$(gitea_address)/api/v1/users/$GITEA_USER/tokens" \
    -H 'Content-Type: application/json' -d '{"name": "tests", "scopes": ["all"]}' | jq -r .sha1 > "$LAB/gitea/token"
}

gitea_address() { echo "127.0.0.1:$(port gitea)"; }

gitea_settings() {
  cat << INI
RUN_MODE = prod
RUN_USER = $(id -un)
WORK_PATH = $LAB/gitea
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = $(port gitea)
ROOT_URL = http://$(gitea_address)/
STATIC_ROOT_PATH = $(gitea_static)
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = $LAB/gitea/gitea.db
[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2_v1
[service]
DISABLE_REGISTRATION = true
[repository]
ENABLE_PUSH_CREATE_USER = true
ENABLE_PUSH_CREATE_ORG = true
[log]
LEVEL = Warn
INI
}

# Templates and locales, copied out of Go's module cache once.
gitea_static() {
  local folder=$CACHE/gitea-$GITEA_VERSION
  if [ ! -d "$folder" ]; then
    local module
    module=$(cd "$BIN" && GO111MODULE=on GOFLAGS=-mod=mod go mod download -json "code.gitea.io/gitea@v$GITEA_VERSION" | jq -r .Dir)
    mkdir "$folder.part"
    cp -r --no-preserve=mode "$module/options" "$module/templates" "$module/public" "$folder.part/"
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}
