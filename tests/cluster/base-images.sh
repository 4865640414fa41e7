# The images that the lab's registries start with, since no public registry can be pulled from:
#   eclipse-temurin:17-jre, :25-jre   a JDK of this machine made small by jlink, the C library, a shell; named like the
#                                     image that Shipway takes by default, and an index of platforms like that one
#   lab/web:1 :2 :3 :crash …          a web server of 1 MB that is ready in no time, for tests that are not about Java
#   lab/pause:1                       what kubelet keeps a pod's network with
# They are made once into the cache, as the storage folder of a registry. Sourced by lab.sh.

MODULES=java.se,jdk.unsupported,jdk.crypto.ec,jdk.management,jdk.management.agent,jdk.zipfs,jdk.naming.dns,jdk.jfr,jdk.httpserver,jdk.localedata,jdk.charsets
LIBRARIES=/lib/x86_64-linux-gnu

# Another recipe or another JDK gives another folder.
base_storage() {
  local version folder
  echo "$CACHE/images-$({
    cat "$here/base-images.sh"
    while read -r version folder; do cat "$folder/release"; done < <(jdks)
  } | sha256sum | cut -c 1-12)"
}

# The JDKs that images are made of: "VERSION FOLDER" a line; those of the versions 17 and 25 that the machine has.
jdks() {
  local version folder
  for version in 17 25; do
    for folder in /usr/lib/jvm/*; do
      if [ ! -L "$folder" ] && [ -x "$folder/bin/jlink" ] && grep -q "^JAVA_VERSION=\"${version}[.\"]" "$folder/release" 2> /dev/null; then
        echo "$version $folder"
        break
      fi
    done
  done
}

base_images() {
  [ ! -d "$(base_storage)" ] || return 0
  [[ $(jdks) == 17\ * ]] || fail "no JDK 17 under /usr/lib/jvm: install openjdk-17-jdk-headless"
  timed "making the base images (once, kept in $CACHE)" make_base_images
}

make_base_images() {
  local work version folder
  work=$(mktemp -d)
  mkdir -p "$work/layout/blobs/sha256"
  pause_image "$work"
  web_images "$work"
  system_layer "$work"
  while read -r version folder; do
    say "  eclipse-temurin:$version-jre of $folder"
    java_image "$work" "$version" "$folder"
  done < <(jdks)
  store "$work"
  rm -rf "$work" "$CACHE"/images-*.old
}

# A registry of its own, only to bring the images into a storage folder; what a registry is then started with is a copy.
store() { # WORK
  local work=$1 address tag
  address=127.0.0.1:$(LAB=$work port registry)
  printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "%s"}\n' "$work/storage" "$address" > "$work/registry.yml"
  LAB=$work start registry docker-registry serve "$work/registry.yml"
  LAB=$work await registry 20 curl -fsS "http://$address/v2/"
  jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$work/layout/index.json" | while read -r tag; do
    skopeo copy -q --all --dest-tls-verify=false "oci:$work/layout:$tag" "docker://$address/$tag"
    case $tag in eclipse-temurin:*) skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false "docker://$address/$tag" "docker://$address/library/$tag" ;; esac
  done
  LAB=$work stop registry
  mv "$work/storage" "$(base_storage)"
}

# --- an OCI layout, by hand: WORK/layout ---

# Moves a file among the blobs; says its descriptor.
blob() { # WORK FILE MEDIA-TYPE
  local digest size
  digest=$(sha256sum < "$2" | cut -d' ' -f1) size=$(stat -c %s "$2")
  mv "$2" "$1/layout/blobs/sha256/$digest"
  jq -nc --arg type "$3" --arg digest "sha256:$digest" --argjson size "$size" '{mediaType: $type, digest: $digest, size: $size}'
}

# A folder as a layer: the same content gives the same digest. Says the descriptor, with the uncompressed digest beside it.
layer() { # WORK FOLDER
  local plain=$1/layer.tar diff
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$2" -cf "$plain" .
  diff=$(sha256sum < "$plain" | cut -d' ' -f1)
  gzip -n "$plain"
  blob "$1" "$plain.gz" application/vnd.oci.image.layer.v1.tar+gzip | jq -c --arg diff "sha256:$diff" '{layer: ., diff: $diff}'
}

# One manifest from layers and the container's configuration.
manifest() { # WORK ARCHITECTURE CONFIG LAYER…
  local work=$1 architecture=$2 config=$3
  shift 3
  jq -nc --arg architecture "$architecture" --argjson config "$config" \
    '{architecture: $architecture, os: "linux", created: "1970-01-01T00:00:00Z", config: $config,
      rootfs: {type: "layers", diff_ids: [$ARGS.positional[].diff]}, history: [$ARGS.positional[] | {created: "1970-01-01T00:00:00Z", created_by: "base-images.sh"}]}' \
    --jsonargs "$@" > "$work/config.json"
  config=$(blob "$work" "$work/config.json" application/vnd.oci.image.config.v1+json)
  jq -nc --argjson config "$config" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$ARGS.positional[].layer]}' \
    --jsonargs "$@" > "$work/manifest.json"
  blob "$work" "$work/manifest.json" application/vnd.oci.image.manifest.v1+json |
    jq -c --arg architecture "$architecture" '. + {platform: {architecture: $architecture, os: "linux"}}'
}

# Gives a manifest or an index its name in the layout.
name_image() { # WORK NAME:TAG DESCRIPTOR
  local index=$1/layout/index.json
  echo '{"imageLayoutVersion": "1.0.0"}' > "$1/layout/oci-layout"
  [ -f "$index" ] || echo '{"schemaVersion": 2, "manifests": []}' > "$index"
  jq -c --arg name "$2" --argjson descriptor "$3" \
    '.manifests += [$descriptor + {annotations: {"org.opencontainers.image.ref.name": $name}}]' "$index" > "$index.new"
  mv "$index.new" "$index"
}

# --- the images ---

# It waits for a signal and collects the children that end in a shared process namespace.
pause_image() { # WORK
  local root=$1/pause
  mkdir "$root"
  gcc -static -Os -s -x c -o "$root/pause" - << 'C'
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
static void collect(int signal) { (void)signal; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  signal(SIGCHLD, collect);
  for (;;) pause();
}
C
  name_image "$1" lab/pause:1 "$(manifest "$1" amd64 '{"Entrypoint": ["/pause"]}' "$(layer "$1" "$root")")"
}

# MODE says how it behaves: serve, crash, never-ready, out-of-memory, slow-start, ignores-term.
web_images() { # WORK
  local root=$1/web mode base
  shell_files "$root"
  mkdir -p "$root/www"
  cat > "$root/start" << 'SH'
#!/bin/sh
case $MODE in
  crash) echo "fatal: the configuration names no database" >&2; exit 1 ;;
  out-of-memory) exec tail /dev/zero ;;
  slow-start) sleep 20 ;;
esac
[ "$MODE" = never-ready ] && PORT=9 || PORT=${PORT:-8080}
[ "$MODE" = ignores-term ] && trap '' TERM || trap 'exit 0' TERM
mkdir -p /tmp/www && echo "version $VERSION" > /tmp/www/index.html && echo up > /tmp/www/health
echo "version $VERSION listens on port $PORT"
[ "$PORT" = 9 ] || httpd -f -p "$PORT" -h /tmp/www &
while :; do sleep 3600 & wait $!; done
SH
  chmod 755 "$root/start"
  base=$(layer "$1" "$root")
  for mode in 1 2 3 crash never-ready out-of-memory slow-start ignores-term; do
    name_image "$1" "lab/web:$mode" "$(manifest "$1" amd64 "$(web_config "$mode")" "$base")"
  done
}

web_config() { # TAG
  local mode=$1
  [[ $mode != [0-9]* ]] || mode=serve
  jq -nc --arg mode "$mode" --arg version "$1" '{Env: ["PATH=/bin", "MODE=\($mode)", "VERSION=\($version)"], Entrypoint: ["/start"], ExposedPorts: {"8080/tcp": {}}, User: "10001"}'
}

# A root file system with a shell and the usual small programs, statically linked.
shell_files() { # ROOT
  local program
  mkdir -p "$1"/{bin,etc,tmp,root,proc,sys,dev,var/tmp}
  chmod 1777 "$1/tmp" "$1/var/tmp"
  cp /bin/busybox "$1/bin/busybox" 2> /dev/null || cp "$(command -v busybox)" "$1/bin/busybox"
  for program in sh sleep cat ls ps httpd tail env id wget kill mkdir echo; do ln -s busybox "$1/bin/$program"; done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n' > "$1/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' > "$1/etc/group"
  echo 'hosts: files dns' > "$1/etc/nsswitch.conf"
}

# What the Java image stands on: the C library and the certificate authorities of this machine.
system_layer() { # WORK
  local root=$1/system
  shell_files "$root"
  mkdir -p "$root/etc/ssl/certs" "$root/lib64" "$root$LIBRARIES"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
  (cd $LIBRARIES && cp -L libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libnss_dns.so.2 libnss_files.so.2 libz.so.1 libgcc_s.so.1 libstdc++.so.6 "$root$LIBRARIES/")
  SYSTEM_LAYER=$(layer "$1" "$root")
}

# The second platform has the same files: it stands for one that the node must not choose.
java_image() { # WORK VERSION JDK-FOLDER
  local root=$1/java-$2 home=opt/java/openjdk java config own
  mkdir -p "$root/opt/java"
  "$3/bin/jlink" --add-modules "$MODULES" --strip-debug --no-header-files --no-man-pages --output "$root/$home" 2> "$1/jlink.log" ||
    fail "jlink of $3 failed: $(tail -n 3 "$1/jlink.log")"
  rm -f "$root/$home"/lib/lib{awt*,splashscreen,fontmanager,jawt,jsound,mlib_image,javajpeg,lcms,freetype}.so
  "$root/$home/bin/java" -Xshare:dump > /dev/null 2>&1 || say "  JDK $2 dumps no shared class archive; its image starts a little slower"
  extra_libraries "$root" "$root/$home"
  java=$(sed -n 's/^JAVA_RUNTIME_VERSION="\(.*\)"/\1/p' "$3/release")
  [ -n "$java" ] || java=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$3/release")
  config=$(jq -nc --arg version "jdk-$java" '{Env: ["PATH=/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "JAVA_HOME=/opt/java/openjdk", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "JAVA_VERSION=\($version)"], Cmd: ["/bin/sh"]}')
  own=$(layer "$1" "$root")
  index_image "$1" "eclipse-temurin:$2-jre" "$config" "$SYSTEM_LAYER" "$own"
}

# The libraries beyond the C library that a JDK of Debian takes from the system.
extra_libraries() { # ROOT JAVA-HOME
  local library
  ldd "$2"/bin/java "$2"/lib/*.so "$2"/lib/server/libjvm.so 2> /dev/null | sed -nE 's|.* => (/[^ ]+) .*|\1|p' | sort -u |
    while read -r library; do
      case $library in
        "$1"/*) ;;
        *) mkdir -p "$1$LIBRARIES" && [ -e "$1/../system$LIBRARIES/${library##*/}" ] || cp -L "$library" "$1$LIBRARIES/" ;;
      esac
    done
}

index_image() { # WORK NAME:TAG CONFIG LAYER…
  local work=$1 name=$2 config=$3 amd64 arm64
  shift 3
  amd64=$(manifest "$work" amd64 "$config" "$@") arm64=$(manifest "$work" arm64 "$config" "$@")
  jq -nc --argjson amd64 "$amd64" --argjson arm64 "$arm64" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [$amd64, $arm64]}' > "$work/index.json"
  name_image "$work" "$name" "$(blob "$work" "$work/index.json" application/vnd.oci.image.index.v1+json)"
}
