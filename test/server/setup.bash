# What the tests of set-up share: hosts on which nothing is set up, reached by a real sshd as a provider's are. Debian,
# with systemd as process 1; Docker, cron, ufw, fail2ban and certbot are then the distribution's own.
load ../helpers

MACHINE_CA=/etc/ssl/certs/ca-certificates.crt
NODE_DIR=/usr/local/lib/nodejs/v24.21.0

on_machine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }
# Runs a command on the host that BARE names.
on_bare() { on_machine exec -i "$BARE" "$@"; }

# Brings the sandbox's droplet up where it is not: hosts of the tests are started as it was, as often as they need one.
setup_up() {
  [ -n "${SANDBOX_DROPLET_CONTAINER-}" ] || eval "$(npm --prefix "$REPO" run --silent sandbox -- up droplet)"
  unset DOCKER_HOST
  export SANDBOX_DROPLET_CONTAINER SANDBOX_DOCKER_HOST SANDBOX_SSH_KEY AWS_ENDPOINT_URL AWS_REGION
  export SANDBOX_OPERATOR_ACCESS_KEY_ID SANDBOX_OPERATOR_SECRET_ACCESS_KEY
  export PREFIX=${SANDBOX_DROPLET_CONTAINER%-droplet}
  DROPLET_IMAGE=$(on_machine inspect --format '{{.Config.Image}}' "$SANDBOX_DROPLET_CONTAINER")
  export DROPLET_IMAGE
}

# Starts a host: its name, and more of docker run's arguments. BARE is its container.
bare_host() {
  local name=$1
  shift
  export BARE=$PREFIX-setup-$name
  remove_bare
  on_machine run --detach --name "$BARE" --hostname "$name" "$@" --label "opsbook.sandbox=$PREFIX" --env "SANDBOX_HOST=$BARE" \
    --network "$PREFIX" --publish 127.0.0.1::22 \
    --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --security-opt systempaths=unconfined --cgroupns host \
    --volume /sys/fs/cgroup:/run/cgroups:rw --tmpfs /run/lock --tmpfs /tmp:exec --volume /var/lib/docker \
    --volume "$SANDBOX_SSH_KEY.pub:/run/owner.pub:ro" --volume "$REPO:$REPO:ro" "$DROPLET_IMAGE" >/dev/null
  wait_for_minutes booted
}

# Removes the host, and what it leaves in the machine's cgroups, which only a container can be sure to see.
remove_bare() {
  on_machine rm --force --volumes "$BARE" >/dev/null 2>&1 || true
  on_machine run --rm --network none --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw --entrypoint find \
    "$DROPLET_IMAGE" /sys/fs/cgroup -depth -type d -path "*/$BARE*" -exec rmdir {} + >/dev/null 2>&1 || true
}

booted() { on_bare systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }

# The settings by which scripts reach the host as this user, at its port 22 unless told.
reach() {
  local port
  port=$(on_machine port "$BARE" "${2:-22}/tcp" | head -1)
  port=${port##*:}
  on_bare sh -c 'cat /etc/ssh/ssh_host_*_key.pub' | sed "s/^/[127.0.0.1]:$port /" >"$BATS_TEST_TMPDIR/known_hosts"
  ENV+=("TARGET=ssh://$1@127.0.0.1:$port" "SSH_IDENTITY_FILE=$SANDBOX_SSH_KEY"
    "SSH_KNOWN_HOSTS=$BATS_TEST_TMPDIR/known_hosts")
}

# The same for the system's own ssh: ssh_to COMMAND….
reach_ssh() {
  SSH_PORT=$(on_machine port "$BARE" "${2:-22}/tcp" | head -1)
  SSH_PORT=${SSH_PORT##*:} SSH_USER=$1
}
ssh_to() {
  local options=()
  while [ "$1" = -o ]; do options+=("$1" "$2"); shift 2; done
  ssh -F none -i "${SSH_KEY:-$SANDBOX_SSH_KEY}" -o BatchMode=yes -o LogLevel=ERROR -o "UserKnownHostsFile=$BATS_TEST_TMPDIR/known_hosts" \
    -p "$SSH_PORT" "${options[@]}" "$SSH_USER@127.0.0.1" "$(printf '%q ' "$@")"
}

# What every test's app is; more settings follow as arguments. The commit that hosts fetch is that of the file's begin:
# somebody may commit meanwhile, and a second run would rightly fetch it.
app() {
  [ -d "$BATS_FILE_TMPDIR/frozen" ] || git clone -q --bare --shared "$REPO" "$BATS_FILE_TMPDIR/frozen"
  ENV+=("GIT_DIR=$BATS_FILE_TMPDIR/frozen" APP=bloaty APP_DIR=/opt/bloaty APP_USER=ops "$@")
}

# Node's release cannot be downloaded everywhere: what is unpacked from it is put there from this checkout and this
# machine's npm. That a download is checked is tested in test/lib/server/setup-item.test.ts.
bring_node() {
  local npm
  npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  on_bare mkdir -p "$NODE_DIR/bin" "$NODE_DIR/lib/node_modules"
  on_machine cp "$(readlink -f "$NODE")" "$BARE:$NODE_DIR/bin/node"
  on_machine cp "$npm" "$BARE:$NODE_DIR/lib/node_modules/npm"
  on_bare ln -s ../lib/node_modules/npm/bin/npm-cli.js "$NODE_DIR/bin/npm"
  # npm on the host trusts what this machine does, and git a checkout whose owner is not root.
  [ ! -f "$MACHINE_CA" ] || on_bare tee /etc/ssl/certs/machine.crt <"$MACHINE_CA" >/dev/null
  on_bare sh -c '[ ! -f /etc/ssl/certs/machine.crt ] || echo cafile=/etc/ssl/certs/machine.crt >/root/.npmrc
    printf "[safe]\n\tdirectory = *\n" >/etc/gitconfig'
}

assert_unchanged() { assert_output --regexp '[0-9]+ items: [0-9]+ unchanged, 0 created, 0 changed'; }

# Before a test of the way in: everybody gets in, sshd is at port 22.
way_in() {
  on_bare sh -c 'rm -f /etc/ssh/sshd_config.d/*-test.conf /etc/default/ssh /etc/ssh/sshd_config.d/00-opsbook.conf /usr/local/sbin/ufw
    rm -rf /run/systemd/system/ssh.socket.d; ufw --force disable; ufw status | grep -q inactive
    for port in 22 2222; do ufw delete allow $port/tcp; ufw delete limit $port/tcp; done
    systemctl daemon-reload; systemctl stop ssh.socket; systemctl restart ssh' >/dev/null 2>&1
  rm -f "$BATS_TEST_TMPDIR/known_hosts"
  reach "${1:-root}"
}

# sshd leaves port 22 for 2222, in one of the ways in which it can.
sshd_moves() {
  case $1 in
    Port) on_bare sh -c 'echo Port 2222 >/etc/ssh/sshd_config.d/05-test.conf; systemctl restart ssh' ;;
    ListenAddress) on_bare sh -c 'echo ListenAddress 0.0.0.0:2222 >/etc/ssh/sshd_config.d/05-test.conf; systemctl restart ssh' ;;
    SSHD_OPTS) on_bare sh -c 'echo SSHD_OPTS=\"-p 2222\" >/etc/default/ssh; systemctl restart ssh' ;;
    ssh.socket)
      on_bare sh -c 'mkdir -p /run/systemd/system/ssh.socket.d; printf "[Socket]\nListenStream=\nListenStream=2222\n" >/run/systemd/system/ssh.socket.d/test.conf
        systemctl daemon-reload; systemctl stop ssh; systemctl start ssh.socket' ;;
  esac
  reach root "${2:-2222}"
}

# A new connection, with a key and without anything that went before.
logs_in() {
  reach_ssh "$1" "${2:-22}"
  ssh_to -o ConnectTimeout=5 true
}

# On the host itself, where nobody came by ssh.
at_console() {
  local settings=()
  for setting in "${ENV[@]}"; do
    case $setting in TARGET=* | SSH_* | PATH=* | HOME=* | NODE_* | GIT_DIR=*) ;; *) settings+=("$setting") ;; esac
  done
  on_bare env -i PATH=/opt/opsbook/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin "${settings[@]}" OPSBOOK_REPOSITORY= \
    node "$REPO/scripts/server/setup-droplet.ts" "$@"
}

# The app: a container that greets on port 80, and does something that nobody outside is to see on 8080.
app_repository() {
  local dir=$BATS_FILE_TMPDIR/app
  mkdir "$dir"
  cat >"$dir/docker-compose.yml" <<'YAML'
services:
  web:
    image: greeter:1
    command: ["perl", "-MIO::Socket::INET", "-e", "$$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8080); while ($$c = $$s->accept) { print $$c qq(hello\n); close $$c }"]
    ports: ["80:8080", "8080:8080"]
    restart: unless-stopped
YAML
  git -C "$dir" init -q -b trunk
  git -C "$dir" add .
  git -C "$dir" -c user.name=test -c user.email=test@example.org commit -q -m app
  on_machine cp "$dir/.git" "$BARE:/srv/app.git"
}

# An image made of the host's own perl, since no registry can be reached everywhere.
greeter() {
  on_bare sh -c 'docker image inspect greeter:1 >/dev/null 2>&1 ||
    { dpkg -L perl-base; ldd /usr/bin/perl | grep -o "/[^ ]*"; } | xargs -I{} sh -c "[ ! -f {} ] || echo {}" |
    tar -ch -P -T - | docker import - greeter:1 >/dev/null'
}

# What another machine gets from a port of the host.
from_outside() {
  on_machine exec "$SANDBOX_DROPLET_CONTAINER" timeout 3 bash -c "exec 3<>/dev/tcp/$BARE/$1 && head -1 <&3"
}

app_up() {
  greeter
  on_bare systemctl start bloaty
  wait_for_minutes answers 80
}
answers() { [ "$(from_outside "$1" 2>/dev/null)" = hello ]; }
