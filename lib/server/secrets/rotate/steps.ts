import type { Command } from '../../../command.ts';
import { Failure } from '../../../failure.ts';
import type { Host } from '../../../host.ts';
import { readHostFile, rewriteHostFile } from '../../../host-files.ts';
import type { Secret } from '../../../secret.ts';
import { runningServices, secretsCompose, staleNames } from '../containers.ts';
import type { SecretsSettings } from '../place.ts';
import { putsFor, refuseUnstorable } from '../put.ts';
import { changedMeanwhile, type SecretStore } from '../store.ts';
import type { Rotation } from './journal.ts';
import type { Plan } from './plan.ts';
import { scramVerifier } from './scram.ts';

/** Services have this long to become healthy, in seconds. */
const HEALTHY_WITHIN = 180;

/** One thing that has to change; it can be made old again in the same way as it is made new. */
export interface Step {
  readonly title: string;
  readonly what: readonly (Command | string)[];
  apply(which: 'old' | 'new', host: Host): Promise<void>;
}

/**
 * The steps of a rotation, in the order in which they are done, and in which they are undone. Making old what never
 * became new does nothing: what failed would only fail again.
 */
export function stepsOf(
  plan: Plan,
  verifiers: Plan['rotation']['verifiers'],
  settings: SecretsSettings,
  host: Host,
): Step[] {
  const { rotation, file, made, old, users } = plan;
  const alter = plan.roles.map(
    ({ role, server }): Step => ({
      title: `alter the role ${role.name} in ${role.service}`,
      what: [`ALTER ROLE ${role.name} PASSWORD (a SCRAM verifier)`],
      apply: (which, on) => server.setVerifier(verifierFor(plan, verifiers, role, which), on),
    }),
  );
  const puts = putsFor(plan.secrets, new Map([[rotation.name, rotation.after]]));
  const write: Step = {
    title: `write ${file.path}`,
    what: [...made.marks].filter(([, mark]) => mark === '~').map(([changed]) => changed),
    async apply(which, on) {
      const text = which === 'new' ? made.text : old;
      const read = await readHostFile(on, file.path);
      if (read !== text) await rewriteHostFile(on, file.path, read, text);
    },
  };
  const recreate: Step = {
    title: 'recreate the services that use it',
    what: users.length > 0 ? [secretsCompose(host, settings).command(...UP, ...users)] : [],
    apply: (_, on) => recreateStale(on, settings),
  };
  return [...alter, ...puts.map(({ store }) => storeStep(store, rotation)), write, recreate];
}

function storeStep(store: SecretStore, { name, before, after }: Rotation): Step {
  return {
    title: `write ${store.uri}`,
    what: [`store ${name}`],
    async apply(which) {
      const [value, replaced] = which === 'new' ? [after, before] : [before, after];
      const stored = (await store.read())?.values.get(name)?.reveal();
      if (stored === value.reveal()) return;
      if (stored !== replaced.reveal()) throw changedMeanwhile(store.uri, [name]);
      await store.write({ set: new Map([[name, value]]), remove: [] });
    },
  };
}

export const roleKey = ({ service, name }: { service: string; name: string }): string => `${service} ${name}`;

function verifierFor(
  { rotation }: Plan,
  verifiers: Plan['rotation']['verifiers'],
  role: { service: string; name: string },
  which: 'old' | 'new',
): Secret {
  if (which === 'new') return scramVerifier(rotation.after);
  const verifier = verifiers[roleKey(role)];
  if (verifier) return verifier;
  throw new Failure(`what ${role.service} stored of the old password is not known`, {
    next: `ALTER ROLE ${role.name} by hand, with the password of the store`,
  });
}

const UP = ['up', '--detach', '--no-deps', '--wait', '--wait-timeout', String(HEALTHY_WITHIN)];

/** Makes anew what has another environment than the file says now, and waits until it is healthy. */
async function recreateStale(host: Host, settings: SecretsSettings): Promise<void> {
  const stale = staleNames(await runningServices(host, settings));
  if (stale.length === 0) return;
  await host.run(secretsCompose(host, settings).command(...UP, ...stale));
}

/** @throws Problems when a store would not take the new value */
export const refuseNewValue = ({ secrets, rotation }: Plan): Promise<void> =>
  refuseUnstorable(putsFor(secrets, new Map([[rotation.name, rotation.after]])));
