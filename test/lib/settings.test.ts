import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { appSettings } from '../../lib/app.ts';
import { adoptAwsEnvironment, awsSettings } from '../../lib/aws.ts';
import { readEnvironment } from '../../lib/env-file.ts';
import { Failure, Problems } from '../../lib/failure.ts';
import { mask } from '../../lib/secret.ts';
import {
  list,
  optionalSetting,
  parsed,
  resolveSettings,
  secret,
  secretUrl,
  setting,
  settingFamily,
} from '../../lib/settings.ts';
import { tempDir } from './kit.ts';

const PORT = setting('PORT', {
  about: 'the port',
  example: '8080',
  default: '80',
  type: parsed((raw) => {
    if (!/^\d+$/.test(raw)) throw new Error('is not a port');
    return Number(raw);
  }),
});
const NAME = setting('NAME', { about: 'the name', example: 'x', type: (z) => z.string() });
const KEYS = optionalSetting('KEYS', { about: 'k', example: 'a,b', type: list((raw) => raw.toUpperCase()) });
const TOKEN = optionalSetting('TOKEN', { about: 't', example: 't', sensitive: true, type: secret });
const HOOK = optionalSetting('HOOK', {
  ...{ about: 'h', example: 'https://x', sensitive: true },
  type: secretUrl,
});

const problemsOf = async (resolving: Promise<unknown>): Promise<string[]> => {
  const error = await resolving.then(
    () => assert.fail('resolved'),
    (e: unknown) => e,
  );
  if (error instanceof Problems) return error.problems.map((p) => `${p.message}. ${p.next}`);
  assert.ok(error instanceof Failure);
  return [`${error.message}. ${error.next}`];
};

test('values are what their types make of the text', async () => {
  const raw = { PORT: '8080', NAME: ' a ', KEYS: 'a, b,,', TOKEN: 'hush-hush' };
  const values = await resolveSettings({ PORT, NAME, KEYS, TOKEN }, raw);
  assert.deepEqual(
    { ...values, TOKEN: values.TOKEN?.reveal() },
    { ...raw, PORT: 8080, NAME: 'a', KEYS: ['A', 'B'] },
  );
});

test('a default stands in for what is absent or empty; an optional setting stays away', async () => {
  assert.deepEqual(await resolveSettings({ PORT, KEYS }, {}), { PORT: 80 });
  assert.deepEqual(await resolveSettings({ PORT, KEYS }, { PORT: ' ', KEYS: '' }), { PORT: 80 });
});

test('all that is missing or wrong is told together, with the name, what is wrong, and an example', async () => {
  assert.deepEqual(
    await problemsOf(resolveSettings({ PORT, NAME, HOOK }, { PORT: 'http', HOOK: 'ftp://x' })),
    [
      'PORT=http: is not a port. set it, for example PORT=8080',
      'NAME is not set (the name). set it, for example NAME=x',
      'HOOK: is not an http(s) URL. set it, for example HOOK=https://x',
    ],
  );
});

test('missing settings are a matter of usage: exit 2', async () => {
  await assert.rejects(resolveSettings({ NAME }, {}), { exit: 2 });
  await assert.rejects(resolveSettings({ NAME, HOOK }, { HOOK: 'x' }), { exit: 2 });
});

test('a value that may hold a password is not quoted', async () => {
  const sensitive = { ...PORT, name: 'DATABASES', sensitive: true as const };
  const [problem] = await problemsOf(
    resolveSettings({ sensitive }, { DATABASES: 'postgres://app:hunter22@db' }),
  );
  assert.equal(problem, 'DATABASES: is not a port. set it, for example DATABASES=8080');
});

test('a value of several lines is told on one', async () => {
  const [problem] = await problemsOf(resolveSettings({ PORT }, { PORT: '80\n81' }));
  assert.match(problem ?? '', /^PORT=80\\n81: is not a port/);
});

test('a secret is masked from then on', async () => {
  await resolveSettings({ TOKEN }, { TOKEN: 'shut-your-eyes' });
  assert.equal(mask('it is shut-your-eyes'), 'it is [redacted]');
});

test('the environment wins over files, and a later file over an earlier', async (t) => {
  const folder = tempDir(t);
  const [one, two] = [join(folder, 'one.env'), join(folder, 'two.env')];
  writeFileSync(one, 'A=one\nB=one\nC=one\n');
  writeFileSync(two, `B=two\nC=two\n# C=three\nD="with # and 'quotes'"\nE='$HOME'\n`);
  assert.deepEqual((await readEnvironment([one, two], { C: 'environment', F: undefined })).raw, {
    ...{ A: 'one', B: 'two', C: 'environment' },
    ...{ D: "with # and 'quotes'", E: '$HOME' },
  });
});

test('what dotenv and Compose read in two ways is refused where it is used, with all that is wrong, and not told', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, 'PORT=80#hush\nNAME="\\$hush"\nREMOTE_LOGS=${hush}\nUNUSED=a#hush\nHOOK=ftp://x\n');
  const { raw, refused } = await readEnvironment([file], {});
  const REMOTE = settingFamily('REMOTE_', { about: 'r', example: 'x' });
  const problems = await problemsOf(resolveSettings({ PORT, NAME, REMOTE, HOOK, TOKEN }, raw, refused));
  const two = 'has one value for dotenv and another for Docker Compose';
  const single = 'put it in single quotes, with at most a comment after them:';
  assert.deepEqual(problems, [
    `--env-file ${file}: PORT ${two}. ${single} PORT='…'`,
    `--env-file ${file}: NAME ${two}. ${single} NAME='…'`,
    `--env-file ${file}: REMOTE_LOGS ${two}. write the value itself in place of the reference, or single quotes if the $ is meant literally: REMOTE_LOGS='…'`,
    'HOOK: is not an http(s) URL. set it, for example HOOK=https://x',
  ]);
  await assert.rejects(resolveSettings({ NAME }, raw, refused), { exit: 2 });
  assert.deepEqual(await resolveSettings({ TOKEN }, raw, refused), {});
});

test("what the environment adopts of AWS's own from a file is refused as well", async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(
    file,
    'AWS_SECRET_ACCESS_KEY=hush#hush\nAWS_REGION=eu-north-1#x\nAWS_OPSBOOK_TEST=x\nOTHER=a#b\n',
  );
  t.after(() => delete process.env.AWS_OPSBOOK_TEST);
  const environment = await readEnvironment([file], {});
  assert.throws(() => adoptAwsEnvironment(environment), /: AWS_SECRET_ACCESS_KEY has one value for dotenv/);
  assert.deepEqual([process.env.AWS_SECRET_ACCESS_KEY, process.env.AWS_OPSBOOK_TEST], [undefined, 'x']);
  // A setting of its own, which is checked with the others.
  const aws = resolveSettings(awsSettings, environment.raw, environment.refused);
  assert.match((await problemsOf(aws)).join('\n'), /^--env-file .*: AWS_REGION has .*$/);
});

test('.env is read when no file is named, and may be absent', async (t) => {
  const before = process.cwd();
  t.after(() => process.chdir(before));
  process.chdir(tempDir(t));
  assert.deepEqual((await readEnvironment([], {})).raw, {});
  writeFileSync('.env', 'A=1\n');
  writeFileSync('other.env', 'B=2\n');
  assert.deepEqual((await readEnvironment([], {})).raw, { A: '1' });
  assert.deepEqual((await readEnvironment(['other.env'], {})).raw, { B: '2' });
});

test('a named file that cannot be read is a matter of usage', async (t) => {
  const folder = tempDir(t);
  mkdirSync(join(folder, 'directory'));
  for (const [name, code] of [
    ['absent', 'ENOENT'],
    ['directory', 'EISDIR'],
  ] as const) {
    const file = join(folder, name);
    const message = `--env-file ${file}: cannot be read (${code})`;
    await assert.rejects(readEnvironment([file], {}), { message, exit: 2 });
  }
});

test('the settings of every script refuse what would hurt later', async () => {
  const good = { APP: 'bloaty', APP_DIR: '/opt/bloaty' };
  for (const [name, value] of [
    ['APP', 'Bloaty'],
    ['APP', '../x'],
    ['APP', 'a b'],
    ['APP_DIR', 'opt/bloaty'],
    ['NOTIFY_URL', 'hooks.slack.com/x'],
    ['HEARTBEAT_URL', 'file:///etc/passwd'],
    ['AWS_REGION', 'stockholm'],
    ['AWS_ENDPOINT_URL', 's3.example.com'],
  ] as const)
    assert.equal(
      (await problemsOf(resolveSettings(appSettings, { ...good, [name]: value }))).length,
      1,
      value,
    );
  const all = Object.values(appSettings).map(({ name, example }) => [name, example]);
  await resolveSettings(appSettings, Object.fromEntries(all));
});
