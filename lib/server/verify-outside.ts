import { lookup } from 'node:dns/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { CommandFailure, cmd } from '../command.ts';
import type { Context } from '../definition.ts';
import { EXIT } from '../failure.ts';
import { bytes, duration } from '../format.ts';
import { localHost } from '../hosts.ts';
import type { Host } from '../shell.ts';
import { ask, illness, isVersion, versionsIn, WebAddress } from '../web.ts';
import { describeLifetime, isLate, type Problem, served } from './certificate.ts';
import { type Backup, type Finding, ok, problem, unknown, unset } from './verify-report.ts';

/** What a name resolves to here, against the addresses that it should have. */
export async function checkDns(name: string, required: readonly string[] | undefined): Promise<Finding> {
  const expected = required?.join(', ') ?? 'an address (EXPECTED_ADDRESS is not set)';
  let addresses: string[];
  try {
    addresses = [...new Set((await lookup(name, { all: true })).map(({ address }) => address))];
  } catch (error) {
    const found = `${name} does not resolve (${(error as NodeJS.ErrnoException).code})`;
    return problem(found, expected, `make a record for ${name} in DNS`);
  }
  const found = `${name} is ${addresses.join(', ')}`;
  const missing = required?.filter((one) => !addresses.includes(one)) ?? [];
  const hasStray = required !== undefined && addresses.some((one) => !required.includes(one));
  if (!hasStray && missing.length === 0) return ok(found, expected);
  return problem(
    hasStray ? found : `${name} is not ${missing.join(', ')}`,
    expected,
    `correct the record of ${name}, or EXPECTED_ADDRESS; a change takes as long as its TTL`,
  );
}

/** The certificate that a browser gets: chain, names, and what is left of its lifetime. */
export async function checkTls(name: string, signal: AbortSignal): Promise<Finding> {
  const expected = 'trusted, for this name, a quarter of its lifetime left';
  const bad = ({ found, todo }: Problem) => problem(`${name}: ${found}`, expected, todo);
  const { certificate, problem: wrong } = await served(name, signal);
  if (!certificate) return bad(wrong);
  if (wrong) return bad(wrong);
  const now = new Date();
  const found = describeLifetime(certificate, now);
  const todo = 'run check-certificate: it says why it is not renewed';
  return isLate(certificate, now) ? bad({ found, todo }) : ok(`${name}: ${found}`, expected);
}

/** http must lead to https of the same name. */
export async function checkRedirect(name: string, signal: AbortSignal): Promise<Finding> {
  const expected = `http://${name} leads to https://${name}`;
  const { status, text, location } = await ask(new WebAddress(`http://${name}/`), signal);
  const bad = (found: string, todo: string) => problem(`http://${name} ${found}`, expected, todo);
  if (status === undefined) return bad(text, 'let the proxy listen on port 80, and redirect');
  const todo = `redirect to https://${name} in the proxy`;
  if (!location) return bad(`answers ${status}, and does not redirect`, todo);
  const to = URL.parse(location, `http://${name}/`);
  if (to?.protocol === 'https:' && to.hostname === name && [301, 302, 307, 308].includes(status))
    return ok(`http://${name} answers ${status}`, expected);
  return bad(`answers ${status}, a redirect to ${location}`, todo);
}

const SEE_WHY = 'see why: remote status, remote logs';

/** HEALTH_URL answers 200, and does not say that it is ill. */
export async function checkHealth(url: WebAddress, signal: AbortSignal): Promise<Finding> {
  const expected = 'answers 200, and does not say that it is ill';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (!ill) return ok(`${url} answers 200`, expected);
  return problem(ill, expected, answer.location ? 'set HEALTH_URL to where it leads' : SEE_WHY);
}

interface Verified {
  /** ISO 8601, UTC. */
  at?: string;
  version: string;
  commit?: string | undefined;
}

/** The newest verified deployment, of the records on the hosts. */
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

/** VERSION_URL reports the version of the last verified deployment, where there is one. */
export async function checkVersion(
  url: WebAddress,
  verified: Verified | undefined,
  signal: AbortSignal,
): Promise<Finding> {
  const expected = verified ? `${verified.version}, the last verified deployment` : 'a version';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (ill) return problem(ill, expected, SEE_WHY);
  const versions = versionsIn(answer.text);
  const found = versions.join(', ');
  if (!found) return problem(`${url} reports no version`, expected, 'set VERSION_URL to what reports it');
  if (!verified) return ok(`${found}; no deployment is recorded to compare with`, expected);
  if (versions.some((one) => isVersion(one, verified))) return ok(found, expected);
  const todo = `deploy what should run: update-deployment ${verified.version}`;
  return problem(`${found} answers, not ${verified.version}`, expected, todo);
}

const SCRIPTS = join(import.meta.dirname, '../../scripts');

/** What the started script would notify of, this one reports. */
const QUIET = { NOTIFY_URL: '', HEARTBEAT_URL: '', GITHUB_ACTIONS: '' };

type ScriptContext = Pick<Context, 'envFiles' | 'signal'>;

/** How another script ended. */
interface Ended {
  code: number;
  stdout: string;
  /** The problem with which it ended, and what to do about it; empty where it ended well. */
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
  { envFiles, signal }: ScriptContext,
): Promise<Ended> {
  const files = envFiles.flatMap((file) => ['--env-file', file]);
  const command = cmd`${process.execPath} ${process.execArgv} ${join(SCRIPTS, `${name}.ts`)} ${args} ${files}`;
  const running = localHost({ signal }).start({ ...command, env: QUIET });
  running.stdin.end();
  const written = Promise.all([text(running.stdout), text(running.stderr)]);
  const [printed, ended] = await Promise.allSettled([written, running.done]);
  const [stdout, stderr] = printed.status === 'fulfilled' ? printed.value : ['', ''];
  if (ended.status === 'fulfilled') return { code: 0, stdout, error: '', next: '' };
  const failure: unknown = ended.reason;
  if (!(failure instanceof CommandFailure) || failure.code === null) throw failure;
  const lines = stderr.trimEnd().split('\n');
  const last = lines.findLast((line) => / error: /.test(line)) ?? lines.at(-1) ?? '';
  const [error = '', next = ''] = last.replace(/^.*? error: /, '').split('. Next: ');
  return { code: failure.code, stdout, error, next };
}

interface History {
  findings: Finding[];
  /** The history, oldest first; absent where it could not be read. */
  backups?: Backup[];
}

/** So far two clocks may differ before one of them is wrong. */
const CLOCK_TOLERANCE_MS = 3_600_000;
/** A backup that has become smaller than this part of the one before has lost something. */
const SHRUNK = 0.5;

/** Asks the store, from here: hosts may be allowed to write only. */
export async function checkBackups(maxAgeMs: number, context: ScriptContext): Promise<History> {
  const list = await ownScript('backup/list', ['--json', '--target', 'local'], context);
  if (list.code === EXIT.usage && list.error.startsWith('BACKUP_STORE is not set'))
    return { findings: [unset('BACKUP_STORE is')] };
  if (list.code !== 0) return { findings: [unknown(list.error, list.next)] };
  const { store, backups } = JSON.parse(list.stdout) as { store: string; backups: Backup[] };
  return { findings: judgeBackups(store, backups, maxAgeMs, new Date()), backups };
}

/** The newest complete backup: its age, and its size against the one before. */
export function judgeBackups(
  store: string,
  backups: readonly Backup[],
  maxAgeMs: number,
  now: Date,
): Finding[] {
  const expected = `complete, at most ${duration(maxAgeMs)} old`;
  const todo = 'read the log of the last run, and run it again: scripts/backup/backup.ts';
  const complete = backups.filter(({ state }) => state === 'complete');
  const [newest, before] = [complete.at(-1), complete.at(-2)];
  if (!newest) return [problem(`no complete backup in ${store}`, expected, todo)];
  const age = now.getTime() - Date.parse(newest.started);
  if (age < -CLOCK_TOLERANCE_MS) {
    const clock = 'a clock is wrong: compare date -u here and on the host';
    return [problem(`${newest.id} is from the future`, expected, clock)];
  }
  const found = `${newest.id}, ${bytes(newest.bytes)}, is ${duration(age)} old`;
  const byAge = age > maxAgeMs ? problem(found, expected, todo) : ok(found, expected);
  if (!before || newest.bytes >= before.bytes * SHRUNK) return [byAge];
  const sizes = `${newest.id} has ${bytes(newest.bytes)}, ${before.id} had ${bytes(before.bytes)}`;
  const missing = 'see what is missing in it: scripts/backup/verify.ts, and a drill';
  return [byAge, problem(sizes, 'about as large as the one before', missing)];
}

interface Drift {
  where: string;
  name: string;
  what: string;
}

/** Whether a host has the secrets of the store; of secrets only the names are reported. */
export async function checkSecrets({ target }: Host, context: ScriptContext): Promise<Finding> {
  const args = ['--check', '--json', '--target', target];
  const { code, stdout, error, next } = await ownScript('server/fetch-secrets', args, context);
  if (code !== EXIT.done && code !== EXIT.problem) return unknown(error, next);
  const { drift } = JSON.parse(stdout) as { drift: Drift[] };
  const expected = 'the store, the env file and the containers agree';
  if (drift.length === 0) return ok(expected, expected);
  const lines = drift.map(({ where, name, what }) => `${name}: ${what} (${where})`);
  const names = [...new Set(drift.map(({ name }) => name))];
  const todo = 'run fetch-secrets, and recreate the services that it names';
  return { ...problem(`they differ in ${names.join(', ')}`, expected, todo), lines };
}
