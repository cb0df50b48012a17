import assert from 'node:assert/strict';
import { posix, win32 } from 'node:path';
import { test } from 'node:test';
import { cmd, wordsOf } from '../../../lib/command.ts';
import { checkoutCompose, illnessIn } from '../../../scripts/deploy/validate-local.ts';

const well = [
  '{"status":"healthy","database":"connected"}',
  '{"status":"ok","uptime":12,"errors":[]}',
  '{"status":"UP","details":{"db":{"status":"UP"}}}',
  '"ok"',
  '<html>error</html>',
  'unhealthy is only a word here',
  '{"openapi":"3.1.0","components":{"schemas":{"Status":{"default":"error"}}}}',
];
const ill: Record<string, string> = {
  '{"status":"unhealthy","database":"error"}': 'status is "unhealthy"',
  '{"status":"healthy","database":"error"}': 'database is "error"',
  '{"status":"healthy","cache":"not connected"}': 'cache is "not connected"',
  '{"checks":{"redis":{"status":"DOWN"}}}': 'checks.redis.status is "DOWN"',
  '{"healthy":false}': 'healthy is false',
  '"unhealthy"': 'it is "unhealthy"',
};

for (const text of well) test(`${text} is well`, () => assert.equal(illnessIn(text), undefined));
for (const [text, what] of Object.entries(ill))
  test(`${text} is ill: ${what}`, () => assert.equal(illnessIn(text), what));

for (const [path, cwd] of [
  [posix, '/home/me/app'],
  [win32, 'C:\\work\\app'],
] as const) {
  const files = ['.env', 'deploy/.env'].map((name) => path.join(cwd, name));
  const composed = (settings: Parameters<typeof checkoutCompose>[1], there = files) => {
    const machine = { cwd, path, exists: (file: string) => there.includes(file) };
    const { directory, compose } = checkoutCompose(cmd, settings, machine);
    return { directory, argv: wordsOf(cmd`${compose} up`), env: cmd`${compose} up`.env };
  };
  test(`R3: a checkout is validated by docker alone, with paths of its machine: ${cwd}`, () => {
    const plain = { argv: ['docker', 'compose', 'up'], directory: cwd, env: { COMPOSE_PROJECT_NAME: 'x' } };
    assert.deepEqual(composed({ COMPOSE_PROJECT_NAME: 'x', SECRETS_FILE: '.env' }), plain);
    const production = composed({ SECRETS_FILE: 'deploy/.env.production' });
    assert.deepEqual(production.argv, [
      ...['docker', 'compose', '--env-file', path.join(cwd, 'deploy', '.env.production'), 'up'],
    ]);
    const deploy = { COMPOSE_FILE: 'deploy/a.yml:b.yml' };
    const { directory, argv, env } = composed(deploy);
    assert.equal(directory, path.join(cwd, 'deploy'));
    const [app, project] = files as [string, string];
    assert.deepEqual(argv, ['docker', 'compose', '--env-file', project, '--env-file', app, 'up']);
    assert.equal(env?.COMPOSE_PATH_SEPARATOR, ':');
    assert.deepEqual(composed(deploy, [app]).argv, ['docker', 'compose', '--env-file', app, 'up']);
    assert.deepEqual(composed(deploy, []).argv, ['docker', 'compose', 'up']);
  });
}
