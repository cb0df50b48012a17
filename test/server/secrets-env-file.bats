#!/usr/bin/env bats
# The env file as others read it: Docker Compose, a database driver, and our own scripts.
load secrets

setup() { secrets_world; }

@test "row 12, ✗ values written unquoted: odd characters in a password: 35 of 35, and 150 random values, are right in every reader, dotenv where it can be, and log in" {
  round_trip() { "$NODE" "$REPO/test/server/round-trip.ts" "$1" "$APP_DIR"; }
  round_trip make
  aws_cli secretsmanager create-secret --name "$SECRET" --secret-string "$(<"$APP_DIR/secret.json")" >/dev/null
  run -0 --separate-stderr opsbook server/fetch-secrets
  docker exec -i bloaty-db-1 psql -U postgres -d postgres -qX -v ON_ERROR_STOP=1 <"$APP_DIR/roles.sql"
  env -u COMPOSE_FILE docker compose --project-directory "$APP_DIR" --project-name "probe-$RANDOM" run --rm -T probe \
    >"$APP_DIR/out" 2>"$BATS_TEST_TMPDIR/err"
  seq -f 'DROP ROLE row12_%g;' 0 34 | docker exec -i bloaty-db-1 psql -U postgres -d postgres -qX
  run -0 round_trip compare
  assert_output '185 values, 34 of 35 by dotenv too, wrong: '
}

@test "our reader takes every line as Docker Compose takes it, the odd ones too" {
  cat >"$APP_DIR/odd.env" <<'ENV'
A1=plain
A2=a b  
A3=a #b
A4=a#b
A5=#x
A6= #x
A7="x" # c
A8='x\'y'
A9=$$x
B1="$$x"
B2='$$x'
B3=${A1}
B4=${NOPE:-d}
B5=${NOPE-d}
B6=${A1:+y}
B7=${NOPE:+y}
B8=${NOPE:-${A1}}
export C1=x
C2: yaml
C3=
C4=""
C5="a\tb"
C6="a\qb"
C7="line
two"
C8=a"b
C9=a\nb
D1="\\n"
D3 = sp
D5="x"D6=y
D8="a\$A1"
D9=a\$A1
  E1=in
E2=${A1}$A2
E3='a\\b'
E4="a\'b"
E5="${A1}"
E8=${NOPE}x
E9="\a\b\f\v"
F2='multi
line' # c
F5=${A1:-${A2}}
G1=pa$1
G2=$
G3=a$.b
G4="a$ b"
G5=a$$$A1
G6=${A1:-x}}
H1=ab\
H2='a\\b\c'
H3="\0101\0x\01"
H4="x\\" #"
H5=a"b'c
H6='{
"a": "$A1"
}'
H7=`x`
ENV
  printf 'services: { p: { image: sandbox/redis:8, entrypoint: [env, "-0"], env_file: odd.env, network_mode: none } }\n' >"$APP_DIR/docker-compose.yml"
  env -u COMPOSE_FILE docker compose --project-directory "$APP_DIR" --project-name "odd-$RANDOM" run --rm -T p >"$APP_DIR/had" 2>/dev/null
  run -0 "$NODE" --input-type=module -e "
    import { readFileSync } from 'node:fs';
    import { parseEnv } from '$REPO/lib/env-file.ts';
    const had = new Set(readFileSync('$APP_DIR/had', 'utf8').split('\0'));
    const ours = Object.entries(parseEnv(readFileSync('$APP_DIR/odd.env', 'utf8')));
    const wrong = ours.filter(([name, value]) => !had.has(name + '=' + value));
    console.log(ours.length, JSON.stringify(wrong))"
  assert_output '54 []'
}
