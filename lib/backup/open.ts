import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import type { Values } from '../settings.ts';
import { stateDirectory } from '../state.ts';
import { catalog, fetchManifest } from './catalog.ts';
import { decrypter } from './encryption.ts';
import { encryptedBy, examiner, newestSound, plainDoubt } from './examine.ts';
import { chooseId } from './id.ts';
import type { Manifest, Recovery } from './manifest.ts';
import type { identitySettings, SourceSettings, storeSettings } from './settings.ts';
import { type Store, Unreadable } from './store.ts';

type Opening = Pick<Context, 'signal'> & {
  settings: Context['settings'] & Values<typeof storeSettings>;
};

/** The app's folder in the store that the settings name. In one run no object of a backup is written twice in it. */
export async function openStore({ settings, signal }: Opening): Promise<Store> {
  const { APP, AWS_REGION: region, BACKUP_STORE: address } = settings;
  if (address.kind === 's3') {
    const { s3Store } = await import('./store-s3.ts');
    const folder = address.prefix ? `${address.prefix}/${APP}` : APP;
    return writingOnce(await s3Store(address.bucket, folder, { region, signal }));
  }
  const { fileStore } = await import('./store-file.ts');
  return writingOnce(fileStore(`${address.directory}/${APP}`, signal));
}

/** A store in which no object of a backup is written twice: two parts of one name would be, and one of them be lost. */
export function writingOnce(store: Store): Store {
  const written = new Set<string>();
  const once = (key: string) => {
    if (key.startsWith('backups/') && written.has(key))
      throw new Failure(`${store.address(key)} would be written twice in one backup`, {
        next: 'give the parts names of their own: ?name=NAME behind an item of the setting',
      });
    written.add(key);
  };
  return {
    ...store,
    put(key, body) {
      once(key);
      return store.put(key, body);
    },
    putStream(key, body, most) {
      once(key);
      return store.putStream(key, body, most);
    },
  };
}

type Reading = Pick<Context, 'host' | 'report' | 'signal' | 'operands'> & {
  settings: Opening['settings'] & Values<typeof identitySettings> & Partial<SourceSettings>;
};

/**
 * Opens the backup that the first operand names; `latest`, also the default, is the newest complete one.
 * @returns its manifest, what restoring it takes, and why newer ones were passed over
 * @throws what {@link findBackup} throws
 */
export async function openBackup(
  context: Reading,
  allowPlain: boolean | undefined,
): Promise<{ manifest: Manifest; recovery: Recovery; passed: Failure[] }> {
  const { settings, operands, host, report, signal } = context;
  const store = await openStore(context);
  const by = encryptedBy(settings, allowPlain);
  const { manifest, passed } = await findBackup(store, settings.APP, operands[0] ?? 'latest', by);
  const recovery: Recovery = {
    ...{ id: manifest.id, host, store, report, signal },
    decrypter: decrypter(settings.BACKUP_IDENTITY_FILE),
    stateDir: stateDirectory(settings.APP_DIR),
  };
  return { manifest, recovery, passed };
}

/**
 * The manifest of the backup that an operator means: an id or `latest`, which is the newest that is complete; and why
 * newer ones were passed over, which are not what their names say.
 * @throws Corrupted when it is plain where backups are encrypted: whoever may write to the store may have put it there
 */
export async function findBackup(
  store: Store,
  app: string,
  requested: string,
  by: ReturnType<typeof encryptedBy>,
): Promise<{ manifest: Manifest; passed: Failure[] }> {
  const entries = await catalog(store);
  if (requested === 'latest' && entries.some(({ state }) => state === 'complete')) {
    const { newest, passed } = await newestSound(entries, examiner({ app, store, encryptedBy: by }));
    const doubts = passed.flatMap(({ doubt }) => doubt ?? []);
    const [first] = doubts;
    if (first && (!newest?.manifest || first instanceof Unreadable)) throw first;
    if (newest?.manifest) return { manifest: newest.manifest, passed: doubts };
  }
  // One that is asked for by its id is told that it was never finished.
  const candidates = entries.filter(
    ({ id, state }) =>
      state === 'complete' || (requested !== 'latest' && (state === 'partial' || id === requested)),
  );
  const ids = candidates.map((entry) => entry.id);
  const where = entries.length > candidates.length ? `${store.uri} that is complete` : store.uri;
  const id = chooseId(requested, ids, where);
  const entry = candidates.find((candidate) => candidate.id === id);
  const manifest = await fetchManifest(store, app, entry as (typeof candidates)[number]);
  const plain = plainDoubt(manifest, by);
  if (plain) throw plain;
  return { manifest, passed: [] };
}
