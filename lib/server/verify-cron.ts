import { duration } from '../format.ts';
import { redact } from '../secret.ts';
import { type Finding, ok, problem } from './verify-report.ts';

const EXPECTED = 'owned by root; last run on time and successful';

/** Jobs that write a line at each run. Of others, as of a renewal that is not due yet, silence says nothing. */
const LOGGING = ['backup', 'prune', 'drill', 'verify'];

/** A run that is this late by now is not just a long one: it never began. */
const LATE_MS = 2 * 3_600_000;

/**
 * Whether the entries of an app are there, are obeyed, ran when they were due, and ended well.
 * @param text what the inspection wrote: a line for the zone, then for each file what stat says, its lines, and its log
 * @param jobs those that the settings schedule, such as `backup`
 */
export function judgeCron(text: string, app: string, jobs: readonly string[], now: Date): Finding[] {
  const { zoneMs, runs, files } = parseCron(text);
  const prefix = `/etc/cron.d/${app.replaceAll('.', '-')}-`;
  const missing = jobs
    .map((job) => `${prefix}${job}`)
    .filter((path) => !files.some((file) => file.path === path))
    .map((path) => problem(`${path} is not there`, EXPECTED, 'run the set-up: setup-ec2 or setup-droplet'));
  // my-app-backup is not an entry of the app `my`.
  const its = files.filter(({ path }) => /^[a-z]+$/.test(path.slice(prefix.length)));
  const start = 'start it: systemctl enable --now cron (or crond)';
  if (!runs && its.length > 0) return [...missing, problem('cron does not run', 'it runs', start)];
  return [...missing, ...its.map((file) => judgeFile(file, file.path.slice(prefix.length), zoneMs, now))];
}

function judgeFile(file: CronFile, job: string, zoneMs: number, now: Date): Finding {
  const bad = (found: string, todo: string) => problem(`${job}: ${found}`, EXPECTED, todo);
  const ago = (at: number) => `${duration(now.getTime() - at)} ago`;
  const ignored = whyIgnored(file);
  if (ignored) return bad(...ignored);
  const { schedule = '', log, changed } = file;
  const due = lastDue(schedule, now.getTime() - LATE_MS, zoneMs);
  const ran = log && log.size > 0 ? log.changed : undefined;
  const isSilent = due !== undefined && due > changed && (ran === undefined || ran < due);
  if (isSilent && LOGGING.includes(job)) {
    const since = ran === undefined ? 'it never ran' : `it last ran ${ago(ran)}`;
    return bad(`${since}, due ${ago(due)} (${schedule})`, 'see whether its user may write its log');
  }
  if (ran === undefined)
    return ok(`${job}: ${isSilent ? 'has written nothing yet' : 'not due yet'}`, EXPECTED);
  // Of itself it would say for ever that its last run found a problem.
  if (job === 'verify' || !log || !endedBadly(log.last)) return ok(`${job}: ran ${ago(ran)}`, EXPECTED);
  return { ...bad(`its last run failed, ${ago(ran)}`, `read ${log.path}`), lines: [redact(log.last)] };
}

/** Why cron ignores a file, or cuts its command, which it reports to nobody; and what to do (crontab(5)). */
function whyIgnored(file: CronFile): [found: string, todo: string] | undefined {
  const { path, owner, mode, isCut, schedule, command = '' } = file;
  const again = 'run the set-up again: it writes the file';
  if (owner !== 'root') return [`${path} is ${owner}'s: cron ignores it`, `chown root:root ${path}`];
  if (/[2367]$|[2367].$/.test(mode))
    return [`others may write ${path} (${mode}): cron ignores it`, `chmod 644 ${path}`];
  if (isCut) return [`the last line of ${path} has no newline: cron ignores it`, again];
  if (schedule === undefined) return [`${path} has no entry`, again];
  if (/(^|[^\\])%/.test(command)) return [`a % in ${path} ends its command`, 'write \\% in its place'];
  return undefined;
}

/** Our scripts say last of all that they failed; what is no line of ours and speaks of an error is a crash. */
function endedBadly(line: string): boolean {
  const [, words] = /^\d{4}-\d\d-\d\dT[\d:]+Z [\w-]+: (.*)$/.exec(line) ?? [];
  if (words !== undefined) return /^error: |: FAILED \(/.test(words);
  return /error|not found|denied|cannot|^Node\.js v/i.test(line);
}

/** A file of /etc/cron.d, and the log that its entry writes; times in milliseconds. */
interface CronFile {
  path: string;
  owner: string;
  mode: string;
  changed: number;
  /** Its last line has no newline. */
  isCut?: boolean;
  /** Its entry, where it has one. */
  schedule?: string;
  command?: string;
  log?: { path: string; changed: number; size: number; last: string };
}

const ENTRY = /^(@\w+|(?:[\w*/,-]+\s+){4}[\w*/,-]+)\s+[\w-]+\s+(\S.*)$/;

/** The first letter of a line says what it is about. */
function parseCron(text: string): { zoneMs: number; runs: boolean; files: CronFile[] } {
  const files: CronFile[] = [];
  let zoneMs = 0;
  let runs = true;
  for (const line of text.split('\n')) {
    if (line.startsWith('Z')) zoneMs = parseZone(line.slice(1));
    else if (line.startsWith('D')) runs = false;
    else if (line.startsWith('F')) {
      const [, owner = '', mode = '', changed = '', path = ''] = /^F(\S+) (\d+) (\d+) (.*)$/.exec(line) ?? [];
      files.push({ path, owner, mode, changed: Number(changed) * 1000 });
    } else Object.assign(files.at(-1) ?? {}, parseDetail(line, files.at(-1)));
  }
  return { zoneMs, runs, files };
}

/** What a line adds to the file before it: a line of its own, its log, the last line of that. */
function parseDetail(line: string, file: CronFile | undefined): Partial<CronFile> {
  const rest = line.slice(1);
  if (line.startsWith('N')) return { isCut: true };
  if (line.startsWith('T') && file?.log) return { log: { ...file.log, last: rest } };
  if (line.startsWith('L')) {
    const [, changed = '', size = '', path = ''] = /^(\d+) (\d+) (.*)$/.exec(rest) ?? [];
    return { log: { path, changed: Number(changed) * 1000, size: Number(size), last: '' } };
  }
  const [, schedule, command = ''] = (line.startsWith('C') && ENTRY.exec(rest)) || [];
  return schedule === undefined ? {} : { schedule, command };
}

function parseZone(offset: string): number {
  const [, sign, hours, minutes] = /^([+-])(\d\d)(\d\d)$/.exec(offset) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * MINUTE_MS;
}

const MINUTE_MS = 60_000;
const LONGEST_MINUTES = 366 * 24 * 60;

const SHORT: Readonly<Record<string, string>> = {
  ...{ '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *' },
  ...{ '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *', '@yearly': '0 0 1 1 *' },
};

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

/** The fields of an entry: their lowest and highest values, and names for them. */
const FIELDS = [
  { low: 0, high: 59, names: [] },
  { low: 0, high: 23, names: [] },
  { low: 1, high: 31, names: [] },
  { low: 1, high: 12, names: ['', ...'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ')] },
  { low: 0, high: 7, names: 'sun mon tue wed thu fri sat'.split(' ') },
];

/** Whether a value is one that a field names, and whether the field is restricted at all. */
function parseField(text: string, index: number): { has(value: number): boolean; any: boolean } {
  const { low, high, names } = FIELDS[index] ?? { low: 0, high: 0, names: [] };
  const number = (word: string) => {
    const named = names.indexOf(word.toLowerCase());
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
