import { readFileSync, writeFileSync } from 'node:fs';
import { parseEnv, readEnvironment } from '../../lib/env-file.ts';
import { hasCommonForm, hostile, randomHostile } from './hostile.ts';

/**
 * `round-trip.ts make FOLDER`: the passwords of row 12 and random ones as a secret, the template that names each of
 * them, a compose file whose service is told them in both ways, and the SQL that makes a role for each of the 35.
 * `round-trip.ts compare FOLDER`: says whether what a container had and what the scripts read is what was stored, and how
 * many of the 35 dotenv reads too; of the random ones it has to read each that has a form which both read alike.
 */
const [act = '', folder = ''] = process.argv.slice(2);
const path = (name: string) => `${folder}/${name}`;
const read = (name: string) => readFileSync(path(name), 'utf8');

/** Prints its environment, a line to end it, and as whom it could log in. */
const PROBE = `env -0; echo logins
export PGHOSTADDR=$(getent hosts db | cut -d ' ' -f 1)
i=0; while [ $i -lt ${hostile.length} ]; do eval "url=\\$U$i"; psql "$url" -Atc 'SELECT current_user'; i=$((i + 1)); done`;

function make(): void {
  const values = [...hostile, ...randomHostile(150)];
  const names = values.map((_, i) => `V${i}`);
  const urls = hostile.map((_, i) => `U${i}=postgresql://row12_${i}:\${V${i}|urlencode}@db:5432/postgres`);
  const interpolated = names.map((name) => `      W${name.slice(1)}: "\${${name}}"\n`).join('');
  const sql = hostile.map(
    (value, i) => `CREATE ROLE row12_${i} LOGIN PASSWORD '${value.replaceAll("'", "''")}';\n`,
  );
  writeFileSync(
    path('secret.json'),
    JSON.stringify(Object.fromEntries(values.map((value, i) => [`V${i}`, value]))),
  );
  writeFileSync(path('.env.template'), [...names.map((name) => `${name}=\${${name}}`), ...urls].join('\n'));
  writeFileSync(path('roles.sql'), sql.join(''));
  writeFileSync(
    path('docker-compose.yml'),
    `services:
  probe:
    image: sandbox/postgres:17
    entrypoint: [sh, -c, ${JSON.stringify(PROBE.replaceAll('$', '$$$$'))}]
    env_file: .env
    environment:
${interpolated}networks: { default: { name: bloaty_default, external: true } }
`,
  );
}

async function compare(): Promise<void> {
  const stored = Object.entries(JSON.parse(read('secret.json')) as Record<string, string>);
  const [environment = '', logins = ''] = read('out').split('\0logins\n');
  const had = new Set(environment.split('\0'));
  const ours = parseEnv(read('.env'));
  const { raw, refused } = await readEnvironment([path('.env')], {});
  const wrong = stored.flatMap(([name, value], i) => [
    ...(had.has(`${name}=${value}`) ? [] : [`${name} by env_file`]),
    ...(had.has(`W${i}=${value}`) ? [] : [`${name} by interpolation`]),
    ...(ours[name] === value ? [] : [`${name} by our scripts`]),
    ...((raw[name] === value) === hasCommonForm(value) ? [] : [`${name} by dotenv`]),
    ...((raw[name] === value) === !refused.has(name) ? [] : [`${name}, which is not refused`]),
  ]);
  const alike = stored.slice(0, hostile.length).filter(([name, value]) => raw[name] === value);
  const lost = hostile.map((_, i) => `row12_${i}`).filter((role) => !logins.split('\n').includes(role));
  console.log(
    `${stored.length} values, ${alike.length} of ${hostile.length} by dotenv too, wrong: ${[...wrong, ...lost].join(', ')}`,
  );
}

if (act === 'make') make();
else await compare();
