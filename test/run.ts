import { glob } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import { ExecaError, execa } from 'execa';
import { duration } from '../lib/format.ts';
import { runInLanes } from './runner/lanes.ts';

/**
 * `npm test`: lint, types, dead code, and the three layers of tests; all of them run, and any failure fails the
 * whole. `npm test -- PART…` runs parts of it: `checks`, or directories below test/. The sandboxes that the tests use are
 * their own: one that is open to play in stays as it is.
 */
const PARTS = ['checks', 'lib', 'script', 'backup', 'server', 'deploy', 'sandbox'];
const asked = process.argv.slice(2);
const unknown = asked.filter((part) => !PARTS.includes(part));
if (unknown.length > 0) {
  process.stderr.write(`no part is called ${unknown.join(', ')}; they are ${PARTS.join(', ')}\n`);
  process.exit(2);
}
const parts = asked.length > 0 ? asked : PARTS;

const name = `${process.env['OPSBOOK_SANDBOX'] ?? 'opsbook'}-test`;
/** Tests wait a fifth of their time: one lane more than cores keeps those busy. */
const LANES = Math.min(4, availableParallelism() + 1);
/** They take minutes each: begun last, they would leave all lanes but one without work. */
const LONG = ['deploy/fleet', 'deploy/ecs-faults', 'server/setup-droplet', 'sandbox/tour-servers'];

const sorted = async (pattern: string) => (await Array.fromAsync(glob(pattern))).sort();
const outcomes: Array<{ name: string; ok: boolean; ms: number }> = [];

async function stage(name: string, act: () => Promise<unknown>): Promise<void> {
  process.stdout.write(`\n── ${name}\n`);
  const started = performance.now();
  let ok = true;
  try {
    await act();
  } catch (error) {
    ok = false;
    // What a command failed with it has said itself.
    if (!(error instanceof ExecaError)) process.stderr.write(`${(error as Error).message}\n`);
  }
  outcomes.push({ name, ok, ms: performance.now() - started });
}

const run = (command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  execa(command, args, { stdio: 'inherit', env, preferLocal: true });

async function checks(): Promise<void> {
  await stage('lint', () => run('biome', ['check', '--error-on-warnings', '.']));
  await stage('types', () => run('tsc', []));
  await stage('dead code', () => run('knip', []));
}

async function library(): Promise<void> {
  const files = await sorted('test/lib/**/*.test.ts');
  if (files.length === 0) throw new Error('no tests found');
  // Unless told, Node leaves a core to others.
  const concurrency = `--test-concurrency=${availableParallelism()}`;
  await run('node', ['--test', '--test-reporter=dot', concurrency, ...files]);
}

async function scripts(areas: readonly string[]): Promise<void> {
  const files = (await Promise.all(areas.map((area) => sorted(`test/${area}/*.bats`)))).flat();
  // A filter that matches nothing exits 0.
  if (files.length === 0) throw new Error('no tests found');
  const long = LONG.map((file) => `test/${file}.bats`).filter((file) => files.includes(file));
  await runInLanes([...long, ...files.filter((file) => !long.includes(file))], LANES, name);
}

if (parts.includes('checks')) await checks();
if (parts.includes('lib')) await stage('test/lib', library);
const areas = parts.filter((part) => part !== 'checks' && part !== 'lib');
if (areas.length > 0) await stage('scripts, in sandboxes', () => scripts(areas));

process.stdout.write('\n');
for (const { name, ok, ms } of outcomes)
  process.stdout.write(`${ok ? '✓' : '✗'} ${name} (${duration(ms)})\n`);
const failed = outcomes.filter((outcome) => !outcome.ok).length;
process.stdout.write(`${outcomes.length - failed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
