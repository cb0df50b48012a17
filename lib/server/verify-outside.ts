import { lookup } from 'node:dns/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Context } from '../definition.ts';
import { bytes, duration } from '../format.ts';
import { ask, illness, isVersion, versionsIn } from '../health.ts';
import { CommandFailure, cmd, type Host, localHost } from '../shell.ts';
import { WebAddress } from '../web.ts';
import { describeLifetime, isLate, type Problem, served } from './certificate.ts';
import { ok, problem, type Row, unknown, unset } from './verify-settings.ts';

/** HEALTH_URL answers 200, and does not say that it is ill. */
export async function healthRow(url: WebAddress, signal: AbortSignal): Promise<Row> {
  const expected = 'answers 200, and does not say that it is ill';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (!ill) return ok('health', `${url} answers 200`, expected);
  const todo = answer.location ? 'set HEALTH_URL to where it leads' : 'see why: remote status, remote logs';
  return problem('health', ill, expected, todo);
}

interface Verified {
  /** ISO 8601, UTC. */
  at?: string;
  version: string;
  commit?: string | undefined;
}

/** The newest deployment that was seen to work, of the records on the host. */
export function lastVerified(deployments: string): Verified | undefined {
  const records = deployments.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Verified & { verified?: boolean }];
    } catch {
      // Cut off by a full disk, or by the end of what was read.
      return [];
    }
  });
  // Of several hosts each has records of its own.
  return records
    .filter(({ verified, version }) => verified === true && typeof version === 'string')
    .sort((a, b) => (a.at ?? '').localeCompare(b.at ?? ''))
    .at(-1);
}

/** VERSION_URL tells the version of the last verified deployment, where there is one. */
export async function versionRow(
  url: WebAddress,
  verified: Verified | undefined,
  signal: AbortSignal,
): Promise<Row> {
  const expected = verified ? `${verified.version}, the last verified deployment` : 'a version';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (ill) return problem('version', ill, expected, 'see why: remote status, remote logs');
  const told = versionsIn(answer.text);
  if (told.length === 0)
    return problem('version', `${url} tells no version`, expected, 'set VERSION_URL to what tells it');
  const found = told.join(', ');
  if (!verified) return ok('version', `${found}; no deployment is recorded to compare with`, expected);
  if (told.some((one) => isVersion(one, verified))) return ok('version', found, expected);
  return problem(
    'version',
    `${found} answers, not ${verified.version}`,
    expected,
    `deploy what should run: update-deployment ${verified.version}`,
  );
}

const SCRIPTS = join(import.meta.dirname, '../../scripts');

/** Who is told of a run is told by the script that started the other; it says what became of it as well. */
const UNHEARD = { NOTIFY_URL: '', HEARTBEAT_URL: '', GITHUB_ACTIONS: '' };

/** What became of another script. */
interface Ended {
  code: number;
  stdout: string;
  /** The problem that it ended with, and what to do about it; empty where it ended well. */
  error: string;
  next: string;
}

/**
 * Runs another script of ours to its end, as `area/name`, with the settings of this one: for what another area does,
 * whose parts are not ours to import.
 * @throws Failure when it did not come to an exit code
 */
async function ownScript(
  name: string,
  args: readonly string[],
  { envFiles, signal }: Pick<Context, 'envFiles' | 'signal'>,
): Promise<Ended> {
  const files = envFiles.flatMap((file) => ['--env-file', file]);
  const script = join(SCRIPTS, `${name}.ts`);
  const running = localHost({ signal }).start({
    ...cmd`${process.execPath} ${process.execArgv} ${script} ${args} ${files}`,
    env: UNHEARD,
  });
  running.stdin.end();
  const heard = Promise.all([text(running.stdout), text(running.stderr)]);
  let code = 0;
  try {
    await running.done;
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.code === null) throw error;
    code = error.code;
  }
  const [stdout, stderr] = await heard;
  const [error = '', next = ''] = code === 0 ? [] : lastError(stderr).split('. Next: ');
  return { code, stdout, error, next };
}

function lastError(stderr: string): string {
  const errors = stderr.split('\n').filter((line) => / error: /.test(line));
  return (errors.at(-1) ?? stderr.trimEnd().split('\n').at(-1) ?? '').replace(/^.*? error: /, '');
}

/** A backup as `scripts/backup/list.ts --json` tells of it. */
export interface Backup {
  id: string;
  state: 'complete' | 'partial' | 'unfinished';
  /** ISO 8601. */
  started: string;
  bytes: number;
}

export interface History {
  rows: Row[];
  /** The history, oldest first; absent where it could not be seen. */
  backups?: Backup[];
}

/** So far two clocks may differ before one of them is wrong. */
const CLOCK_TOLERANCE_MS = 3_600_000;
/** A backup that has become smaller than this part of the one before has lost something. */
const SHRUNK = 0.5;

const USAGE = 2;

/** Asks the store, from here: hosts may be allowed to write only. */
export async function backupRows(
  maxAgeMs: number,
  context: Pick<Context, 'envFiles' | 'signal'>,
): Promise<History> {
  const { code, stdout, error, next } = await ownScript(
    'backup/list',
    ['--json', '--target', 'local'],
    context,
  );
  if (code === USAGE && error.startsWith('BACKUP_STORE is not set'))
    return { rows: [unset('backup', 'BACKUP_STORE is')] };
  if (code !== 0) return { rows: [unknown('backup', error, next)] };
  const { store, backups } = JSON.parse(stdout) as { store: string; backups: Backup[] };
  return { rows: judge(store, backups, maxAgeMs, new Date()), backups };
}

/** The newest complete backup: its age, and its size against the one before. */
export function judge(store: string, backups: readonly Backup[], maxAgeMs: number, now: Date): Row[] {
  const expected = `complete, ${duration(maxAgeMs)} old at the most`;
  const todo = 'read the log of the last run, and run it again: scripts/backup/backup.ts';
  const complete = backups.filter(({ state }) => state === 'complete');
  const [newest, before] = [complete.at(-1), complete.at(-2)];
  if (!newest) return [problem('backup', `no complete backup in ${store}`, expected, todo)];
  const age = now.getTime() - Date.parse(newest.started);
  const found = `${newest.id}, ${bytes(newest.bytes)}, is ${duration(age)} old`;
  if (age < -CLOCK_TOLERANCE_MS) {
    const clock = 'a clock is wrong: compare date -u here and on the host';
    return [problem('backup', `${newest.id} is from the future`, expected, clock)];
  }
  return [
    age > maxAgeMs ? problem('backup', found, expected, todo) : ok('backup', found, expected),
    ...(before && newest.bytes < before.bytes * SHRUNK ? [shrunk(newest, before)] : []),
  ];
}

const shrunk = (newest: Backup, before: Backup): Row =>
  problem(
    'backup',
    `${newest.id} has ${bytes(newest.bytes)}, ${before.id} had ${bytes(before.bytes)}`,
    'about as large as the one before',
    'see what is missing in it: scripts/backup/verify.ts, and a drill',
  );

/** What a name resolves to here, against the addresses that it should have. */
export async function dnsRow(name: string, expected: readonly string[] | undefined): Promise<Row> {
  const wanted = expected?.join(', ') ?? 'an address (EXPECTED_ADDRESS is not set)';
  let found: string[];
  try {
    found = (await lookup(name, { all: true })).map(({ address }) => address);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const todo = `make a record for ${name} in DNS`;
    return problem('dns', `${name} does not resolve (${code})`, wanted, todo);
  }
  return dnsJudgement(name, [...new Set(found)], expected, wanted);
}

function dnsJudgement(
  name: string,
  found: readonly string[],
  expected: readonly string[] | undefined,
  wanted: string,
): Row {
  const text = `${name} is ${found.join(', ')}`;
  if (!expected) return ok('dns', text, wanted);
  const [stray, missing] = [
    found.filter((one) => !expected.includes(one)),
    expected.filter((one) => !found.includes(one)),
  ];
  if (stray.length + missing.length === 0) return ok('dns', text, wanted);
  return problem(
    'dns',
    stray.length > 0 ? text : `${name} is not ${missing.join(', ')}`,
    wanted,
    `correct the record of ${name}, or EXPECTED_ADDRESS; a change takes as long as its TTL`,
  );
}

/** The certificate that a browser gets: chain, names, and what is left of its lifetime. */
export async function tlsRow(name: string, now: Date, signal: AbortSignal): Promise<Row> {
  const expected = 'trusted, for this name, a quarter of its lifetime left';
  const bad = ({ found, todo }: Problem) => problem('tls', `${name}: ${found}`, expected, todo);
  const { certificate, problem: wrong } = await served(name, signal);
  if (!certificate) return bad(wrong);
  if (wrong) return bad(wrong);
  const found = describeLifetime(certificate, now);
  if (isLate(certificate, now))
    return bad({ found, todo: 'run check-certificate: it says why it is not renewed' });
  return ok('tls', `${name}: ${found}`, expected);
}

/** http must lead to https of the same name. */
export async function redirectRow(name: string, signal: AbortSignal): Promise<Row> {
  const expected = `http://${name} leads to https://${name}`;
  const { status, text, location } = await ask(new WebAddress(`http://${name}/`), signal);
  const bad = (found: string, todo: string) => problem('redirect', `http://${name} ${found}`, expected, todo);
  if (status === undefined) return bad(text, 'let the proxy listen on port 80, and redirect');
  if (!location)
    return bad(`answers ${status}, and does not redirect`, `redirect to https://${name} in the proxy`);
  const to = URL.parse(location, `http://${name}/`);
  if (to?.protocol === 'https:' && to.hostname === name && [301, 302, 307, 308].includes(status))
    return ok('redirect', `http://${name} answers ${status}`, expected);
  return bad(`answers ${status}, a redirect to ${location}`, `redirect to https://${name} in the proxy`);
}

interface Drift {
  where: string;
  name: string;
  what: string;
}

const FOUND = 3;
const EXPECTED = 'the store, the env file and the containers agree';

/** Whether a host has the secrets of the store; of secrets only the names are told. */
export async function secretRows(
  { target }: Host,
  context: Pick<Context, 'envFiles' | 'signal'>,
): Promise<Row[]> {
  const args = ['--check', '--json', '--target', target];
  const { code, stdout, error, next } = await ownScript('server/fetch-secrets', args, context);
  if (code !== 0 && code !== FOUND) return [unknown('secrets', error, next)];
  const { drift } = JSON.parse(stdout) as { drift: Drift[] };
  if (drift.length === 0) return [ok('secrets', EXPECTED, EXPECTED)];
  const lines = drift.map(({ where, name, what }) => `${name}: ${what} (${where})`);
  const names = [...new Set(drift.map(({ name }) => name))];
  const todo = 'run fetch-secrets, and recreate the services that it names';
  return [{ ...problem('secrets', `they differ in ${names.join(', ')}`, EXPECTED, todo), lines }];
}
