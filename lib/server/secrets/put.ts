import { Failure } from '../../failure.ts';
import type { Report } from '../../report.ts';
import type { Context } from '../../script.ts';
import type { Values } from './entries.ts';
import { type Secrets, throwAll } from './secrets.ts';
import type { Change, SecretStore } from './store.ts';

/** What is to be changed in one store. */
export interface Put {
  readonly store: SecretStore;
  readonly change: Change;
}

/** Sorts a change by the stores that have the names; a new name goes to the first store. */
export function putsFor(secrets: Secrets, set: Values, remove: readonly string[] = []): Put[] {
  const [first] = secrets.stores;
  const home = (name: string) => secrets.home.get(name) ?? first;
  return secrets.stores.flatMap((store) => {
    const change = {
      set: new Map([...set].filter(([name]) => home(name) === store)),
      remove: remove.filter((name) => home(name) === store),
    };
    return change.set.size + change.remove.length > 0 ? [{ store, change }] : [];
  });
}

/** @throws Problems with all that the stores would not take, before anything is changed */
export async function refuseUnstorable(puts: readonly Put[]): Promise<void> {
  throwAll((await Promise.all(puts.map(({ store, change }) => store.refusals(change)))).flat());
}

/** Changes the stores, a step each. */
export async function putAll(puts: readonly Put[], change: Context['change']): Promise<void> {
  for (const { store, change: what } of puts) {
    const names = [...what.set.keys()].map((name) => `store ${name}`);
    const all = [...names, ...what.remove.map((name) => `remove ${name}`)];
    await change(`write ${store.uri}`, all, () => store.write(what));
  }
}

/** Says what is in the store alone, and of what the file has that is no secret. */
export function tellLeft(report: Report, { onlyStored, noSecrets }: Record<string, readonly string[]>): void {
  if (onlyStored?.length)
    report.info(`only stored, and kept (--prune removes them): ${onlyStored.join(', ')}`);
  if (noSecrets?.length)
    report.info(`not pushed, since the template does not ask the store for them: ${noSecrets.join(', ')}`);
}

/** @throws Problems naming what would be stored empty, which fetch-secrets would refuse */
export function refuseEmptyValues(values: ReadonlyMap<string, string>, path: string): void {
  const empty = [...values].filter(([, value]) => value === '').map(([name]) => name);
  throwAll(
    empty.map(
      (name) => new Failure(`${path}: ${name} is empty`, { next: 'give it a value, or remove the line' }),
    ),
  );
}
