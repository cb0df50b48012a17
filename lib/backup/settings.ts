import { readFileSync } from 'node:fs';
import { composeSettings } from '../app.ts';
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
import { parsePolicy } from './retention.ts';
import { parseStore } from './store.ts';

function parseDatabase(raw: string): PostgresAddress | SqliteAddress {
  if (raw.startsWith('compose://')) return parseCompose(raw);
  if (/^postgres(ql)?:\/\//.test(raw)) return parseDirect(raw);
  if (raw.startsWith('sqlite://')) return parseSqlite(raw);
  throw new Error('has an item that is not one of compose://, postgres:// and sqlite://');
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
    about: 'the access key of BACKUP_BUCKETS, where it differs from that of AWS',
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
