import { duration } from '../format.ts';
import { redact } from '../secret.ts';
import { ok, problem, type Row } from './verify-settings.ts';

const NAMES = [
  [],
  [],
  [],
  ['', 'jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'],
] as const;
const RANGES = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
] as const;
const SHORT: Readonly<Record<string, string>> = {
  ...{ '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *' },
  ...{ '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *', '@yearly': '0 0 1 1 *' },
};

const MINUTE_MS = 60_000;
const LONGEST_MINUTES = 366 * 24 * 60;

/** Whether a value of a field is one that the schedule names. */
type Field = { has(value: number): boolean; any: boolean };

function parseField(text: string, index: number): Field {
  const [low, high] = RANGES[index] as readonly [number, number];
  const number = (word: string) => {
    const named = (NAMES[index] as readonly string[]).indexOf(word.toLowerCase());
    return named >= 0 ? named : Number(word);
  };
  const values = new Set<number>();
  for (const item of text.split(',')) {
    const [range = '', step = '1'] = item.split('/');
    const [from = '', to] = range === '*' ? [String(low), String(high)] : range.split('-');
    const last = to === undefined ? (item.includes('/') ? high : number(from)) : number(to);
    for (let value = number(from); value <= last; value += Number(step) || 1) values.add(value);
  }
  if (index === 4 && values.has(7)) values.add(0);
  return { has: (value) => values.has(value), any: text.startsWith('*') };
}

/**
 * When an entry of cron was last due at or before `now`, in milliseconds; undefined where it is never due in a year, or
 * no five fields. As crontab(5) has it: where day of month and day of week are both restricted, either will do.
 * @param zoneMs how far the host's local time is ahead of UTC
 */
export function lastDue(schedule: string, now: number, zoneMs = 0): number | undefined {
  const fields = (SHORT[schedule] ?? schedule).split(/\s+/).map(parseField);
  const [minute, hour, day, month, weekday] = fields;
  if (!minute || !hour || !day || !month || !weekday) return undefined;
  const start = Math.floor((now + zoneMs) / MINUTE_MS) * MINUTE_MS;
  for (let back = 0; back < LONGEST_MINUTES; back += 1) {
    const at = new Date(start - back * MINUTE_MS);
    if (!minute.has(at.getUTCMinutes()) || !hour.has(at.getUTCHours())) continue;
    const [inMonth, inWeek] = [day.has(at.getUTCDate()), weekday.has(at.getUTCDay())];
    const onDay = day.any || weekday.any ? inMonth && inWeek : inMonth || inWeek;
    if (onDay && month.has(at.getUTCMonth() + 1)) return at.getTime() - zoneMs;
  }
  return undefined;
}

/** A file of /etc/cron.d, and the log that its entry writes. */
interface CronFile {
  path: string;
  owner: string;
  mode: string;
  changed: number;
  /** Its last line has no end. */
  cut?: boolean;
  entry?: { schedule: string; command: string };
  log?: { path: string; changed: number; size: number; last: string };
}

/** Jobs that write a line at each run. Of others, as of a renewal that is not due yet, silence says nothing. */
const TELLING = ['backup', 'prune', 'drill', 'verify'];

/** A run that is this late by now is not just a long one: it never began. */
const LATE_MS = 2 * 3_600_000;

const SECOND_MS = 1000;
const ENTRY = /^(@\w+|(?:[\w*/,-]+\s+){4}[\w*/,-]+)\s+[\w-]+\s+(\S.*)$/;

/** What each kind of line tells of the file that is read, by the line's first letter. */
const KINDS: Readonly<Record<string, (rest: string, file: CronFile) => void>> = {
  C(rest, file) {
    const [, schedule, command = ''] = ENTRY.exec(rest) ?? [];
    if (schedule !== undefined) file.entry = { schedule, command };
  },
  L(rest, file) {
    const [, changed = '', size = '', path = ''] = /^(\d+) (\d+) (.*)$/.exec(rest) ?? [];
    file.log = { path, changed: Number(changed) * SECOND_MS, size: Number(size), last: '' };
  },
  N(_, file) {
    file.cut = true;
  },
  T(rest, file) {
    if (file.log) file.log.last = rest;
  },
};

function parseFile(rest: string): CronFile {
  const [, owner = '', mode = '', changed = '', path = ''] = /^(\S+) (\d+) (\d+) (.*)$/.exec(rest) ?? [];
  return { path, owner, mode, changed: Number(changed) * SECOND_MS };
}

/** What the look at cron wrote: a line for the zone, then for each file what stat says, its lines, and its log. */
function parseCron(text: string): { zoneMs: number; runs: boolean; files: CronFile[] } {
  const files: CronFile[] = [];
  let zoneMs = 0;
  let runs = true;
  for (const line of text.split('\n')) {
    const [kind = '', rest] = [line[0], line.slice(1)];
    const file = files.at(-1);
    if (kind === 'Z') zoneMs = zoneOf(rest);
    else if (kind === 'D') runs = false;
    else if (kind === 'F') files.push(parseFile(rest));
    else if (file) KINDS[kind]?.(rest, file);
  }
  return { zoneMs, runs, files };
}

function zoneOf(offset: string): number {
  const [, sign, hours, minutes] = /^([+-])(\d\d)(\d\d)$/.exec(offset) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * 60_000;
}

const EXPECTED = "root's, and its last run was in time and went well";

/**
 * Whether the entries of an app are there, are obeyed, ran when they were due, and ended well.
 * @param jobs those that the settings schedule, such as `backup`
 */
export function cronRows(text: string, app: string, jobs: readonly string[], now: Date): Row[] {
  const { zoneMs, runs, files } = parseCron(text);
  const prefix = `/etc/cron.d/${app.replaceAll('.', '-')}-`;
  const missing = jobs
    .map((job) => `${prefix}${job}`)
    .filter((path) => !files.some((file) => file.path === path))
    .map((path) =>
      problem('cron', `${path} is not there`, EXPECTED, 'run the set-up: setup-ec2 or setup-droplet'),
    );
  // my-app-backup is not an entry of the app `my`.
  const its = files.filter(({ path }) => /^[a-z]+$/.test(path.slice(prefix.length)));
  const idle = problem(
    'cron',
    'cron does not run',
    'it runs',
    'start it: systemctl enable --now cron (or crond)',
  );
  if (!runs && its.length > 0) return [...missing, idle];
  return [...missing, ...its.map((file) => fileRow(file, file.path.slice(prefix.length), zoneMs, now))];
}

function fileRow(file: CronFile, job: string, zoneMs: number, now: Date): Row {
  const bad = (found: string, todo: string) => problem('cron', `${job}: ${found}`, EXPECTED, todo);
  const disobeyed = fault(file);
  if (disobeyed) return bad(...disobeyed);
  const { entry, log, changed } = file;
  const due = lastDue(entry?.schedule ?? '', now.getTime() - LATE_MS, zoneMs);
  const ran = log && log.size > 0 ? log.changed : undefined;
  const silent = due !== undefined && due > changed && (ran === undefined || ran < due);
  if (silent && TELLING.includes(job)) {
    const since = ran === undefined ? 'it never ran' : `it last ran ${ago(ran, now)}`;
    return bad(
      `${since}, due ${ago(due, now)} (${entry?.schedule})`,
      'see whether its user may write its log',
    );
  }
  // Of itself it would say for ever that its last run found a problem.
  if (ran !== undefined && job !== 'verify' && endedBadly(log?.last ?? ''))
    return {
      ...bad(`its last run failed, ${ago(ran, now)}`, `read ${log?.path}`),
      lines: [redact(log?.last ?? '')],
    };
  return ok('cron', `${job}: ${lastRun(ran, silent, now)}`, EXPECTED);
}

function lastRun(ran: number | undefined, silent: boolean, now: Date): string {
  if (ran !== undefined) return `ran ${ago(ran, now)}`;
  return silent ? 'has written nothing yet' : 'not due yet';
}

/** Why cron passes a file over, or cuts its command, of which it tells nobody; and what to do (crontab(5)). */
function fault({ path, owner, mode, cut, entry }: CronFile): [string, string] | undefined {
  const again = 'run the set-up again: it writes the file';
  if (owner !== 'root') return [`${path} is ${owner}'s: cron does not obey it`, `chown root:root ${path}`];
  if (/[2367]$|[2367].$/.test(mode))
    return [`others may write ${path} (${mode}): cron does not obey it`, `chmod 644 ${path}`];
  if (cut) return [`the last line of ${path} has no end: cron does not obey it`, again];
  if (!entry) return [`${path} has no entry`, again];
  if (/(^|[^\\])%/.test(entry.command)) return [`a % in ${path} ends its command`, 'write \\% in its place'];
  return undefined;
}

const ago = (at: number, now: Date) => `${duration(now.getTime() - at)} ago`;

/** Our scripts say last of all that they failed; what is no line of ours and tells of an error is a crash. */
function endedBadly(line: string): boolean {
  const [, words] = /^\d{4}-\d\d-\d\dT[\d:]+Z [\w-]+: (.*)$/.exec(line) ?? [];
  if (words !== undefined) return /^error: |: FAILED \(/.test(words);
  return /error|not found|denied|cannot|^Node\.js v/i.test(line);
}
