# Shared by the other files of this folder: where things are, how processes are started, awaited and ended.
# Sourced, never run.

LAB=${SHIPWAY_LAB:-/tmp/shipway-lab-$UID}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/shipway
BIN=$CACHE/bin
ENV_FILE=$LAB/env

KUBERNETES_VERSION=1.36.3
ETCD_VERSION=3.6.5
GITEA_VERSION=1.26.0 # the last one whose module path is the one that it is published under
BUILDKIT_VERSION=0.34.2
KWOK_VERSION=0.8.0
HELM_VERSION=4.3.1
GO_VERSION=1.26.8 # fetched only where there is no Go that fetches by itself

say() { printf 'lab: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Runs the rest as a part of its own: says what it is, and how long it took.
timed() { # SENTENCE COMMAND…
  local sentence=$1 begun=$SECONDS
  shift
  say "$sentence"
  "$@"
  say "$sentence: done in $((SECONDS - begun)) s"
}

# --- processes: each has LAB/run/NAME.pid ("PID START-TICKS") and LAB/log/NAME.log ---

# The kernel's start time of a process tells it from a later one that got the same number; a zombie has ended.
start_ticks() { # PID
  sed -nE 's/^.*\) [^ZX] //p' "/proc/$1/stat" 2> /dev/null | cut -d' ' -f19
}

running() { # NAME
  local pid ticks
  [ -f "$LAB/run/$1.pid" ] && read -r pid ticks < "$LAB/run/$1.pid" && [ -n "$ticks" ] && [ "$(start_ticks "$pid")" = "$ticks" ]
}

# A process of its own session, so that Ctrl-C in a test run does not reach it: `down` ends it in order. It keeps no lock of ours.
start() { # NAME COMMAND…
  local name=$1 pid
  shift
  mkdir -p "$LAB/run" "$LAB/log"
  setsid "$@" > "$LAB/log/$name.log" 2>&1 < /dev/null 8>&- 9>&- &
  pid=$!
  echo "$pid $(start_ticks "$pid")" > "$LAB/run/$name.pid"
}

# Asks all to end and waits once for all of them; what is not gone after two seconds is killed: nothing here has data to keep.
stop() { # NAME…
  local name
  for name in "$@"; do signal TERM "$name"; done
  for _ in $(seq 20); do
    any_running "$@" || break
    sleep 0.1
  done
  for name in "$@"; do
    signal KILL "$name"
    rm -f "$LAB/run/$name.pid"
  done
}

signal() { # SIGNAL NAME
  local pid
  ! running "$2" || { read -r pid _ < "$LAB/run/$2.pid" && kill -s "$1" "$pid" 2> /dev/null; } || true
}

any_running() { # NAME…
  local name
  for name in "$@"; do ! running "$name" || return 0; done
  return 1
}

# Waits for a condition that the process NAME brings about; a process that ended is told at once, with its last words.
await() { # NAME SECONDS COMMAND…
  local name=$1 seconds=$2 deadline=$((SECONDS + $2 + 1))
  shift 2
  until "$@" > /dev/null 2>&1; do
    if ! running "$name" || [ $SECONDS -ge $deadline ]; then
      say "$name did not get ready$(running "$name" && echo " within $seconds s" || echo ": it ended"); the end of $LAB/log/$name.log:"
      tail -n 12 "$LAB/log/$name.log" >&2
      return 1
    fi
    sleep 0.1
  done
}

# --- ports: chosen once for each lab and kept in LAB/ports; the variable LAB_<NAME>_PORT overrules ---

listening() { # PORT
  grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf '%04X' "$1") [0-9A-F:]+ 0A " /proc/net/tcp /proc/net/tcp6 2> /dev/null
}

# Below the kernel's own range for outgoing connections and below the node ports of Kubernetes, so that neither takes it.
port() { # NAME
  local name=$1 variable chosen
  variable=LAB_${name^^}_PORT
  chosen=$(sed -n "s/^$name //p" "$LAB/ports" 2> /dev/null || true)
  while [ -z "$chosen" ]; do
    chosen=${!variable:-$((20000 + RANDOM % 9900))}
    if listening "$chosen" || grep -q " $chosen$" "$LAB/ports" 2> /dev/null; then
      [ -z "${!variable:-}" ] || fail "port $chosen of $variable is in use; name another one"
      chosen=
    else
      echo "$name $chosen" >> "$LAB/ports"
    fi
  done
  echo "$chosen"
}

# --- the API, spoken with curl: the lab needs no kubectl ---

api() { # METHOD PATH [BODY [CONTENT-TYPE]]
  curl -fsS --cacert "$LAB/pki/apiserver.crt" -H "Authorization: Bearer $(cat "$LAB/pki/admin.token")" -X "$1" \
    ${3:+-H "Content-Type: ${4:-application/json}" --data-binary "$3"} "https://127.0.0.1:$(port api)$2"
}
