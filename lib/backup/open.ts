import type { Context } from '../definition.ts';
import type { Values } from '../settings.ts';
import { stateDirectory } from '../state.ts';
import { decrypter } from './encryption.ts';
import type { Recovery } from './manifest.ts';
import type { identitySettings } from './settings.ts';
import type { Store, StoreAccess, StoreAddress } from './store.ts';

/** Opens the store for one app. */
async function openStore(address: StoreAddress, app: string, access: StoreAccess): Promise<Store> {
  if (address.kind === 's3') {
    const { s3Store } = await import('./store-s3.ts');
    return s3Store(address.bucket, address.prefix ? `${address.prefix}/${app}` : app, access);
  }
  const { fileStore } = await import('./store-file.ts');
  return fileStore(`${address.directory}/${app}`, access.signal);
}

type Opening = Pick<Context, 'signal'> & {
  settings: { APP: string; AWS_REGION?: string | undefined; BACKUP_STORE: StoreAddress };
};

/** The app's folder in the store that the settings name. */
export function openSettingsStore({ settings, signal }: Opening): Promise<Store> {
  return openStore(settings.BACKUP_STORE, settings.APP, { region: settings.AWS_REGION, signal });
}

/** Where this host remembers, unless nothing may be changed. */
export const stateOf = ({ settings, dryRun }: Pick<Context, 'settings' | 'dryRun'>): string | undefined =>
  dryRun ? undefined : stateDirectory(settings.APP_DIR);

/** What restoring from a store takes. */
export async function recoveryOf(
  context: Pick<Context, 'host' | 'report' | 'signal'> & {
    settings: Context['settings'] & Values<typeof identitySettings>;
  },
  store: Store,
  id: string,
): Promise<Recovery> {
  const { settings, host, report, signal } = context;
  return {
    ...{ id, host, store, report, signal },
    decrypter: decrypter(settings.BACKUP_IDENTITY_FILE),
    appDir: settings.APP_DIR,
    stateDir: stateDirectory(settings.APP_DIR),
  };
}
