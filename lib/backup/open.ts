import type { Context } from '../script.ts';
import { stateDirectory } from '../state.ts';
import type { StoreAddress } from './store.ts';
import { openStore, type Store } from './store.ts';

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
