# Image registries on loopback: one open, one with a password, one with TLS by a certificate authority of its own.
# All are Debian's docker-registry; each starts with the base images of base-images.sh. Sourced by lab.sh.

REGISTRY_USER=publisher REGISTRY_PASSWORD=publisher-password-1

registries_up() {
  local plain locked secure
  plain=127.0.0.1:$(port registry) locked=127.0.0.1:$(port registry_auth) secure=localhost:$(port registry_tls)
  running registry || { seed_storage registry && registry_start registry "$plain" ''; }
  running registry-auth || {
    seed_storage registry-auth
    htpasswd -Bbn $REGISTRY_USER $REGISTRY_PASSWORD > "$LAB/htpasswd" 2> /dev/null
    registry_start registry-auth "$locked" "auth: {htpasswd: {realm: lab, path: $LAB/htpasswd}}"
  }
  running registry-tls || {
    seed_storage registry-tls
    certificate
    registry_start registry-tls "127.0.0.1:$(port registry_tls)" '' "tls: {certificate: $LAB/pki/registry.crt, key: $LAB/pki/registry.key}"
    mkdir -p "$LAB/certs.d/$secure"
    printf '[host."https://%s"]\n  capabilities = ["pull", "resolve"]\n  ca = "%s"\n' "$secure" "$LAB/pki/registry-ca.crt" > "$LAB/certs.d/$secure/hosts.toml"
  }
  await registry 20 curl -fsS "http://$plain/v2/"
  await registry-auth 20 curl -fsS -u "$REGISTRY_USER:$REGISTRY_PASSWORD" "http://$locked/v2/"
  await registry-tls 20 curl -fsS --cacert "$LAB/pki/registry-ca.crt" "https://$secure/v2/"
}

seed_storage() { # NAME
  [ -d "$LAB/$1" ] || cp -r "$(base_storage)" "$LAB/$1"
}

# The access log is what tests count requests by, so it is kept in the usual combined format.
registry_start() { # NAME ADDRESS MORE [HTTP-OPTION]
  cat > "$LAB/$1.yml" << YAML
version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: "$LAB/$1"}, delete: {enabled: true}}
http: {addr: "$2"${4:+, $4}}
$3
YAML
  start "$1" docker-registry serve "$LAB/$1.yml"
}

# A certificate authority that no machine trusts, and a certificate of it for localhost.
certificate() {
  local pki=$LAB/pki
  mkdir -p "$pki"
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Shipway lab CA' -keyout "$pki/registry-ca.key" -out "$pki/registry-ca.crt" 2> /dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$pki/registry.key" -out "$pki/registry.csr" 2> /dev/null
  openssl x509 -req -in "$pki/registry.csr" -CA "$pki/registry-ca.crt" -CAkey "$pki/registry-ca.key" -CAcreateserial -days 30 \
    -extfile <(printf 'subjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = CA:FALSE\n') -out "$pki/registry.crt" 2> /dev/null
}
