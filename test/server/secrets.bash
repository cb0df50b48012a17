# What the tests of secrets share: a secret, a path of parameters and an app's folder of their own for each test, in
# a sandbox that is up (test/run.ts brings it up and exports what it says).
load ../helpers
bats_require_minimum_version 1.5.0

secrets_world() {
  : "${SANDBOX_SECRETS_READER_ACCESS_KEY_ID:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"
  # The app of the sandbox itself, which has a host.
  SANDBOX_APP_DIR=${SANDBOX_APP_DIR:-$APP_DIR}
  SECRET="bloaty/t$BATS_TEST_NUMBER-$RANDOM" APP_DIR=$BATS_TEST_TMPDIR/app
  PARAMETERS="/$SECRET"
  mkdir -p "$APP_DIR"
  ENV+=(
    APP=bloaty APP_DIR="$APP_DIR" SECRETS_FROM="secretsmanager:$SECRET"
    AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" AWS_REGION="$AWS_REGION"
    DOCKER_HOST="$DOCKER_HOST" DOCKER_CONFIG="$DOCKER_CONFIG"
  )
  as SECRETS_READER
}

# From now on the scripts have the keys of this user of the sandbox.
as() {
  local id=SANDBOX_$1_ACCESS_KEY_ID key=SANDBOX_$1_SECRET_ACCESS_KEY
  ENV+=(AWS_ACCESS_KEY_ID="${!id}" AWS_SECRET_ACCESS_KEY="${!key}")
}

# Makes the test's secret of this text, which need not be JSON.
secret() {
  aws_cli secretsmanager create-secret --name "$SECRET" --secret-string "$1" >/dev/null
}

# What is stored in the secret under a name, from outside.
stored() {
  aws_cli secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text |
    "$NODE" -e 'process.stdout.write(JSON.parse(require("fs").readFileSync(0, "utf8"))[process.argv[1]] ?? "(none)")' "$1"
}

parameter() {
  aws_cli ssm put-parameter --name "$PARAMETERS/$1" --value "$2" --type SecureString >/dev/null
}

template() {
  cat >"$APP_DIR/.env.template"
}

# What Docker Compose makes of a name of the env file.
compose_reads() {
  printf 'services: { x: { image: x, environment: { V: "${%s}" } } }\n' "$1" >"$BATS_TEST_TMPDIR/reads.yml"
  # A variable of the shell would win over the file.
  env -u "$1" docker compose --env-file "$APP_DIR/.env" -f "$BATS_TEST_TMPDIR/reads.yml" config --format json |
    "$NODE" -e 'process.stdout.write(JSON.parse(require("fs").readFileSync(0, "utf8")).services.x.environment.V.replaceAll("$$", "$"))'
}
