import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { decrypter, encrypter } from '../../../lib/backup/encryption.ts';
import type { DirectoryPart, Recovery, Restored, Source, Work } from '../../../lib/backup/manifest.ts';
import { directoryRestorer } from '../../../lib/backup/restore-directory.ts';
import { directorySource } from '../../../lib/backup/save-directory.ts';
import type { Store } from '../../../lib/backup/store.ts';
import { fileStore } from '../../../lib/backup/store-file.ts';
import { localHost } from '../../../lib/hosts.ts';
import { Report, type Step } from '../../../lib/output.ts';
import type { Host } from '../../../lib/shell.ts';
import { stateDirectory } from '../../../lib/state.ts';

export interface World {
  /** APP_DIR. */
  app: string;
  uploads: string;
  state: string;
  store: Store;
  /** The directory of the store. */
  stored: string;
  report: Report;
  /** What the store was asked for, one `put KEY`, `list PREFIX` or `get KEY` each. */
  asked: string[];
  notes: string[];
  step: Step;
}

/** The one command that is run is a sync of the file system: the disk of a busy machine takes seconds for it. */
const host: Host = { ...localHost(), run: async () => '' };

const silent = {
  start() {},
  progress() {},
  done() {},
  failed() {},
  say() {},
  table() {},
  output() {},
};

const mounted: string[] = [];

/** Mounts a disk of its own for the time of a test; false where this user may not. */
export function mount(directory: string, megabytes: number): boolean {
  const { status } = spawnSync('/usr/bin/mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${megabytes}m`,
    'opsbook-test',
    directory,
  ]);
  if (status === 0) mounted.push(directory);
  return status === 0;
}

/** An app with an empty uploads directory, and a store in a directory. */
export function world(): World {
  const root = mkdtempSync(join(tmpdir(), 'opsbook-files-'));
  after(() => {
    for (const point of mounted.splice(0)) spawnSync('umount', [point]);
    rmSync(root, { recursive: true, force: true });
  });
  const app = join(root, 'app');
  const uploads = join(app, 'uploads');
  mkdirSync(uploads, { recursive: true });
  const asked: string[] = [];
  const notes: string[] = [];
  const stored = join(root, 'store');
  return {
    app,
    uploads,
    state: stateDirectory(app),
    stored,
    store: listening(fileStore(stored, new AbortController().signal), asked),
    report: new Report(silent),
    asked,
    notes,
    step: { progress() {}, note: (text) => void notes.push(text) },
  };
}

function listening(store: Store, asked: string[]): Store {
  return {
    ...store,
    put: (key, body) => {
      asked.push(`put ${key}`);
      return store.put(key, body);
    },
    putStream: (key, body, most) => {
      asked.push(`put ${key}`);
      return store.putStream(key, body, most);
    },
    get: (key) => {
      asked.push(`get ${key}`);
      return store.get(key);
    },
    list: (prefix) => {
      asked.push(`list ${prefix}`);
      return store.list(prefix);
    },
  };
}

/** Writes files, long enough ago that their times can be trusted. */
export function write(directory: string, files: Record<string, string | Uint8Array>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    age(path);
  }
}

export const age = (path: string | Buffer, seconds = 3_600): void => {
  const then = Date.now() / 1000 - seconds;
  utimesSync(path, then, then);
};

/** The calls that stored a content. */
export const contentPuts = (asked: string[]) => asked.filter((line) => line.startsWith('put content/'));

let serial = 0;
export const nextId = (): string => `20261001-${String(++serial).padStart(6, '0')}`;

export async function workIn(world: World, changes: Partial<Work> = {}): Promise<Work> {
  return {
    id: nextId(),
    host,
    store: world.store,
    encrypter: await encrypter(undefined),
    report: world.report,
    signal: new AbortController().signal,
    appDir: world.app,
    stateDir: world.state,
    allowEmpty: false,
    ...changes,
  };
}

export const uploadsOf = (world: World): Source =>
  directorySource({ name: 'uploads', path: 'uploads' }, world.app);

/** A whole backup of one part, with its manifest. */
export async function backUp(
  world: World,
  changes: Partial<Work> = {},
  source = uploadsOf(world),
): Promise<DirectoryPart> {
  const work = await workIn(world, changes);
  const prepared = await source.prepare(work);
  const record = (await prepared.save(world.step)) as DirectoryPart;
  await work.store.settle();
  await prepared.confirm?.();
  await work.store.put(`backups/${work.id}/manifest.json`, Buffer.from(JSON.stringify(record)));
  await prepared.committed?.();
  return record;
}

export async function recoveryIn(world: World, changes: Partial<Recovery> = {}): Promise<Recovery> {
  return {
    id: nextId(),
    host,
    store: world.store,
    decrypter: await decrypter(undefined),
    report: world.report,
    signal: new AbortController().signal,
    stateDir: world.state,
    ...changes,
  };
}

/** Restores beside the live directory. */
export async function restoreBeside(
  world: World,
  part: DirectoryPart,
  changes: Partial<Recovery> = {},
): Promise<Restored> {
  const restorer = directoryRestorer(part, world.uploads, await recoveryIn(world, changes));
  await restorer.prepare();
  return restorer.restoreBeside(world.step);
}

/** The store, with `act` done once before the first content is stored. */
export function interfering(store: Store, act: () => void): Store {
  let done = false;
  const once = () => {
    if (!done) act();
    done = true;
  };
  return {
    ...store,
    put: async (key, body) => {
      if (key.startsWith('content/')) once();
      return store.put(key, body);
    },
    putStream: async (key, body, most) => {
      once();
      return store.putStream(key, body, most);
    },
  };
}
