import { readFileSync } from 'node:fs';
import { composeSettings } from '../compose.ts';
import { flag } from '../definition.ts';
import { Secret } from '../secret.ts';
import { list, optionalSetting, parsed, secret, setting, type Values } from '../settings.ts';
import {
  type PostgresAddress,
  parseBucket,
  parseCompose,
  parseDirect,
  parseDirectory,
  parseSqlite,
  type SqliteAddress,
} from './addresses.ts';
import { RECIPIENT } from './encryption.ts';
import { parseStore } from './store.ts';

/** How many backups of each period are kept: the newest of each of the last `daily` days that have one, and so on. */
export interface Policy {
  daily: number;
  weekly: number;
  monthly: number;
  yearly: number;
}

type Period = keyof Policy;

const DAY_MS = 86_400_000;
const PERIOD_MS: Record<Period, number> = {
  daily: DAY_MS,
  weekly: 7 * DAY_MS,
  monthly: 31 * DAY_MS,
  yearly: 366 * DAY_MS,
};

/** `daily=7,weekly=4,monthly=3`. */
export function parsePolicy(raw: string): Policy {
  const policy: Policy = { daily: 0, weekly: 0, monthly: 0, yearly: 0 };
  for (const item of raw.split(',')) {
    const [, period = '', number = ''] = /^\s*(\w+)=(\d+)\s*$/.exec(item) ?? [];
    if (!Object.hasOwn(policy, period))
      throw new Error(`"${item.trim()}" is not daily=N, weekly=N, monthly=N or yearly=N`);
    policy[period as Period] = Number(number);
  }
  if (Object.values(policy).every((n) => n === 0)) throw new Error('would keep nothing');
  return policy;
}

interface Aged {
  id: string;
  started: Date;
}

/**
 * Which of `backups` a policy keeps, each with the reasons. Days, weeks (from Monday), months and years are those of
 * UTC, and only those that have a backup count: a pause of some weeks costs nothing that was there before it. The
 * newest is always kept; what claims to be from the future is too, and counts for nothing.
 */
export function keep(backups: readonly Aged[], policy: Policy, now: Date): Map<string, string[]> {
  const kept = new Map<string, string[]>();
  const because = (id: string, reason: string) => kept.set(id, [...(kept.get(id) ?? []), reason]);
  for (const { id, started } of backups) if (started > now) because(id, 'in the future');
  const newestFirst = backups.filter(({ started }) => started <= now).sort((a, b) => (a.id < b.id ? 1 : -1));
  if (newestFirst[0]) because(newestFirst[0].id, 'newest');
  for (const [period, number] of Object.entries(policy) as Array<[Period, number]>) {
    for (const id of newestOfEach(period, number, newestFirst)) because(id, period);
  }
  return kept;
}

/** The newest of each of the last `number` periods that have any. */
function newestOfEach(period: Period, number: number, newestFirst: readonly Aged[]): string[] {
  const newest = new Map<string, string>();
  for (const { id, started } of newestFirst) {
    const name = periodOf(period, started);
    if (!newest.has(name) && newest.size < number) newest.set(name, id);
  }
  return [...newest.values()];
}

function periodOf(period: Period, date: Date): string {
  const iso = date.toISOString();
  if (period === 'daily') return iso.slice(0, 10);
  if (period === 'monthly') return iso.slice(0, 7);
  if (period === 'yearly') return iso.slice(0, 4);
  const monday = new Date(date.getTime() - ((date.getUTCDay() + 6) % 7) * DAY_MS);
  return monday.toISOString().slice(0, 10);
}

/** The length of the shortest period that a policy keeps anything of: how old the newest backup may be. */
export function shortestPeriod(policy: Policy): { name: Period; ms: number } {
  const name = (Object.keys(policy) as Period[]).find((period) => policy[period] > 0) ?? 'daily';
  return { name, ms: PERIOD_MS[name] };
}

export type DatabaseAddress = PostgresAddress | SqliteAddress;

function parseDatabase(raw: string): DatabaseAddress {
  if (raw.startsWith('compose://')) return parseCompose(raw);
  if (/^postgres(ql)?:\/\//.test(raw)) return parseDirect(raw);
  if (raw.startsWith('sqlite://')) return parseSqlite(raw);
  throw new Error('has an item that is none of compose://, postgres:// and sqlite://');
}

/** Where backups are, for every script of the area. */
export const storeSettings = {
  BACKUP_STORE: setting('BACKUP_STORE', {
    about: "where backups live; the app's name is appended",
    example: 's3://bloaty-backups-x7/',
    type: parsed(parseStore),
  }),
};

/** What is backed up. */
export const sourceSettings = {
  ...storeSettings,
  ...composeSettings,
  BACKUP_DATABASES: optionalSetting('BACKUP_DATABASES', {
    about:
      'the databases, separated by commas: compose://SERVICE/DATABASE, postgres://…, sqlite:///FILE; ' +
      '?name=NAME tells two of one name apart',
    example: 'compose://db/bloaty?user=postgres',
    sensitive: true,
    type: list(parseDatabase),
  }),
  BACKUP_DIRECTORIES: optionalSetting('BACKUP_DIRECTORIES', {
    about: 'the directories, separated by commas; relative ones are below APP_DIR; ?name=NAME as above',
    example: 'uploads',
    type: list(parseDirectory),
  }),
  BACKUP_BUCKETS: optionalSetting('BACKUP_BUCKETS', {
    about:
      'the buckets, separated by commas: NAME?endpoint=URL, or endpoint=compose://SERVICE:PORT; name=NAME as above',
    example: 'images?endpoint=compose://minio:9000',
    type: list(parseBucket),
  }),
  BUCKET_ACCESS_KEY_ID: optionalSetting('BUCKET_ACCESS_KEY_ID', {
    about: 'the access key of BACKUP_BUCKETS, where it is another than that of AWS',
    example: 'images-backup',
    type: (z) => z.string(),
  }),
  BUCKET_SECRET_ACCESS_KEY: optionalSetting('BUCKET_SECRET_ACCESS_KEY', {
    about: 'its secret key',
    example: 'from-the-secret-store',
    sensitive: true,
    type: secret,
  }),
  BACKUP_RECIPIENT: optionalSetting('BACKUP_RECIPIENT', {
    about: 'the age recipient that backups are encrypted to; its identity stays off the host',
    example: 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p',
    type: (z) => z.string().regex(RECIPIENT, 'is not an age recipient: "age1" and 58 characters'),
  }),
};

/** What reading an encrypted backup takes. */
export const identitySettings = {
  BACKUP_IDENTITY_FILE: optionalSetting('BACKUP_IDENTITY_FILE', {
    about: 'the file with the age identity that backups were encrypted to, for those who read them',
    example: '/root/bloaty-backup.age',
    type: parsed(readIdentity),
  }),
};

/** For those who read backups: what is not encrypted is refused where encryption is set up. */
export const allowPlainFlag = flag(
  '--allow-plain',
  'take a backup that is not encrypted, though BACKUP_IDENTITY_FILE or BACKUP_RECIPIENT is set',
);

/** How long backups are kept. */
export const retentionSettings = {
  BACKUP_KEEP: setting('BACKUP_KEEP', {
    about: 'how many backups are kept: of the last days, weeks, months and years that have one',
    example: 'daily=7,weekly=4,monthly=3',
    default: 'daily=7,weekly=4,monthly=3',
    type: parsed(parsePolicy),
  }),
};

export type SourceSettings = Values<typeof sourceSettings>;

function readIdentity(file: string): Secret {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  const identity = /^AGE-SECRET-KEY-1[0-9A-Z]{58}$/m.exec(text)?.[0];
  if (!identity) throw new Error('holds no age identity (a line that starts with AGE-SECRET-KEY-1)');
  return new Secret(identity);
}
