# What the tests of verify share: bloaty's host, seen by ssh or from on it, and an app there that ails in many ways.
load remote

SICK=/srv/sick

verify() { opsbook verify "$@"; }

# verify on the host itself, with these settings and nothing else: `inside NAME=value… [flags]`.
inside() {
  local settings=()
  while [[ ${1-} == [A-Z]*=* ]]; do settings+=("$1") && shift; done
  on_host_as "${AS:-root}" env -i --chdir /tmp PATH=/usr/bin:/bin HOME=/tmp APP=sick "APP_DIR=$SICK" "${settings[@]}" \
    "$NODE" "$REPO/scripts/server/verify.ts" "$@" </dev/null
}

on_host_as() {
  local user=$1
  shift
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec -i --user "$user" "$SANDBOX_HOST_CONTAINER" "$@"
}

# An app whose services each have something else; `docker` is that of the host.
sick_up() {
  on_host sh -c "mkdir -p $SICK && cat >$SICK/docker-compose.yml" <<'YAML'
x-one: &one { image: sandbox/nginx:1.26, stop_grace_period: 0s }
services:
  ill: { <<: *one, healthcheck: { test: [CMD, 'false'], interval: 100ms, retries: 1 } }
  crash: { <<: *one, restart: always, command: ['false'] }
  init: { <<: *one, command: ['true'] }
  loud: { <<: *one, command: [sh, -c, 'echo "ERROR: cannot log in, password=Loud-Secret-1" >&2; exec sleep infinity'] }
  open: { <<: *one, ports: ['8099:80'] }
YAML
  on_host docker compose --progress quiet --project-directory "$SICK" up --detach
  ails() { on_host docker ps --all --format '{{.Names}} {{.Status}}' | grep -q 'sick-ill-1 .*unhealthy' && restarted; }
  restarted() { (($(on_host docker inspect --format '{{.RestartCount}}' sick-crash-1) > 3)); }
  wait_for ails
}

sick_down() {
  on_host docker compose --progress quiet --project-directory "$SICK" down --volumes
  on_host rm -rf "$SICK"
}

# The rows of a check in the answer of --json, as `state found`.
rows() { jq -r --arg check "$1" '.rows[] | select(.check == $check) | "\(.state) \(.found)"'; }

# A certificate for NAME, from and until these days from now, that an authority of the tests signed; served on port 443.
serve_certificate() {
  local name=$1 from=$2 until=$3
  end_server
  on_host sh -c "mkdir -p /tmp/tls && cd /tmp/tls && {
    [ -e ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=test -days 90
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=$name -addext subjectAltName=DNS:$name |
      openssl x509 -req -CA ca.pem -CAkey ca.key -copy_extensions copy -out cert.pem \
        -not_before \$(date -ud '$from days' +%Y%m%d%H%M%SZ) -not_after \$(date -ud '$until days' +%Y%m%d%H%M%SZ)
  } 2>/tmp/tls/said || cat /tmp/tls/said >&2"
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec --detach "$SANDBOX_HOST_CONTAINER" \
    sh -c 'echo $$ >/tmp/tls/pid; exec openssl s_server -accept 443 -www -cert /tmp/tls/cert.pem -key /tmp/tls/key.pem'
  wait_for on_host sh -c 'ss -Hltn | grep -q :443'
}

end_server() { on_host sh -c '[ ! -e /tmp/tls/pid ] || kill "$(cat /tmp/tls/pid)" 2>/dev/null; rm -f /tmp/tls/pid'; }

# An A record, as far as this host is concerned.
name_here() { on_host sh -c "grep -q ' $1\$' /etc/hosts || echo '127.0.0.1 $1' >>/etc/hosts"; }
