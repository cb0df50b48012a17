import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../definition.ts';
import { Failure, sentence } from '../failure.ts';
import { readHostFile, rewriteHostFile, writeHostFile } from '../host-files.ts';
import { parseSecret, Secret } from '../secret.ts';
import { type Command, CommandFailure, type Host } from '../shell.ts';
import { stateFileOn } from '../state.ts';
import type { Plan } from './rotate-plan.ts';
import { changedMeanwhile, putsFor, refuseUnstorable, type SecretStore } from './secret-stores.ts';
import type { SecretsSettings } from './secrets.ts';
import { runningServices, secretsCompose, staleNames } from './stale.ts';

/** A rotation that began: all that is needed to end it, or to undo it, by another run. */
export interface Rotation {
  readonly name: string;
  readonly before: Secret;
  readonly after: Secret;
  readonly began: string;
  /** What the server stored of the old password, by `SERVICE ROLE`. */
  readonly verifiers: Readonly<Record<string, Secret>>;
}

/** What the app's host remembers of a rotation until it has ended; its file is as closed as the env file. */
export interface Journal {
  /** The rotation that another run began and did not end. */
  pending(): Promise<Rotation | undefined>;
  begin(rotation: Rotation): Promise<void>;
  end(): Promise<void>;
}

export function journal(host: Host, appDir: string): Journal {
  const path = () => stateFileOn(host, appDir, 'rotation.json');
  return {
    async pending() {
      // Looked for, not made: a dry run leaves no trace.
      const text = await readHostFile(host, `${appDir}/.opsbook/rotation.json`);
      return text ? parseRotation(text, appDir) : undefined;
    },
    async begin({ name, before, after, began, verifiers }) {
      const shown = Object.entries(verifiers).map(([role, verifier]) => [role, verifier.reveal()]);
      const texts = { before: before.reveal(), after: after.reveal(), verifiers: Object.fromEntries(shown) };
      await writeHostFile(host, await path(), JSON.stringify({ name, began, ...texts }));
    },
    end: async () => writeHostFile(host.uninterrupted, await path(), ''),
  };
}

/** A rotation as it is written. */
type Noted = Record<'name' | 'began' | 'before' | 'after', string> & { verifiers: Record<string, string> };

function parseRotation(text: string, appDir: string): Rotation {
  try {
    const { name, began, before, after, verifiers } = parseSecret<Noted>(text);
    const kept = Object.entries(verifiers).map(([role, verifier]) => [role, new Secret(verifier)]);
    return {
      ...{ name, began, before: new Secret(before), after: new Secret(after) },
      verifiers: Object.fromEntries(kept),
    };
  } catch (error) {
    throw new Failure(`${appDir}/.opsbook/rotation.json is damaged`, {
      next: 'see which password the database takes, then remove the file',
      cause: error,
    });
  }
}

/** What PostgreSQL's own clients use. */
const ITERATIONS = 4096;

/**
 * What PostgreSQL stores of a password (RFC 5802, RFC 7677): ALTER ROLE takes it in the place of the password, which
 * then is in no log of the server. For ASCII passwords only: others would have to be normalised first (SASLprep).
 */
export function scramVerifier(password: Secret, salt: Buffer = randomBytes(16)): Secret {
  const salted = pbkdf2Sync(password.reveal(), salt, ITERATIONS, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const server = hmac('Server Key').toString('base64');
  return new Secret(`SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${stored}:${server}`);
}

/** Services have this long to become healthy, in seconds. */
const HEALTHY_WITHIN = 180;

/** One thing that has to change; it can be made old again in the same way as it is made new. */
interface Step {
  readonly title: string;
  readonly what: readonly (Command | string)[];
  apply(which: 'old' | 'new', host: Host): Promise<void>;
}

/**
 * The steps of a rotation, in the order in which they are done, and in which they are undone. Making old what never
 * became new does nothing: what failed would only fail again.
 */
function stepsOf(
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

const roleKey = ({ service, name }: { service: string; name: string }): string => `${service} ${name}`;

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

const STARTS_WITHIN_MS = 60_000;

type Work = Pick<Context, 'host' | 'report' | 'change'>;

/**
 * Proves, before anything is changed, that the role takes the password which is to be replaced (or, when another run
 * was cut off, the new one).
 * @throws Failure when it takes neither
 */
export async function proveOld({ roles, rotation, continued }: Plan, { report }: Work): Promise<void> {
  for (const { role, server } of roles) {
    if (await server.admitsAnyone()) {
      report.warn(`${role.service} lets ${role.name} in with any password: see its pg_hba.conf`);
      continue;
    }
    const known = [rotation.before, ...(continued ? [rotation.after] : [])];
    if (await anyAdmitted(server, known)) continue;
    throw new Failure(`${role.service} does not take the password of ${role.name} that is stored`, {
      next: `set the stored one by hand (ALTER ROLE ${role.name}), then rotate it`,
    });
  }
}

async function anyAdmitted(server: Plan['roles'][number]['server'], passwords: Secret[]): Promise<boolean> {
  for (const password of passwords) if (await server.admits(password)) return true;
  return false;
}

/** What the servers store of the old password now, unless another run has noted it. */
async function verifiersOf({ roles, rotation }: Plan): Promise<Record<string, Secret>> {
  const found: Record<string, Secret> = {};
  for (const { role, server } of roles)
    found[roleKey(role)] = rotation.verifiers[roleKey(role)] ?? (await server.verifier());
  return found;
}

/**
 * Rotates: role, store, file, services, and a login that proves it. Whatever fails, what was begun is made old again.
 * @throws Failure that says what failed, and whether everything is as it was
 */
export async function rotate(
  plan: Plan,
  settings: SecretsSettings,
  journal: Journal,
  work: Work,
): Promise<void> {
  const verifiers = await verifiersOf(plan);
  const steps = stepsOf(plan, verifiers, settings, work.host);
  const begun: Step[] = [];
  await work.change('note the rotation', ['.opsbook/rotation.json'], () =>
    journal.begin({ ...plan.rotation, verifiers }),
  );
  try {
    for (const step of steps) {
      begun.push(step);
      await work.change(step.title, step.what, () => step.apply('new', work.host));
    }
    await work.change('log in with the new value', [], () => proveNew(plan));
  } catch (error) {
    await undo(begun, plan, journal, work, error);
    throw error;
  }
  await work.change('forget the old value', [], () => journal.end());
}

async function proveNew({ roles, rotation }: Plan): Promise<void> {
  for (const { role, server } of roles)
    if (!(await admittedInTime(server, rotation.after)))
      throw new Failure(`${role.service} does not take the new password of ${role.name}`, {
        next: 'see the log of the database',
      });
}

/** A server whose container is new may still be starting, if Compose has no health check to wait for. */
async function admittedInTime(server: Plan['roles'][number]['server'], password: Secret): Promise<boolean> {
  for (const end = Date.now() + STARTS_WITHIN_MS; ; await sleep(200)) {
    try {
      return await server.admits(password);
    } catch (error) {
      if (!(error instanceof CommandFailure) || Date.now() > end) throw error;
    }
  }
}

async function undo(
  begun: readonly Step[],
  { rotation }: Plan,
  journal: Journal,
  { host, report }: Work,
  cause: unknown,
): Promise<void> {
  try {
    for (const step of begun)
      await report.step(`undo: ${step.title}`, () => step.apply('old', host.uninterrupted));
    await journal.end();
  } catch (error) {
    throw new Failure(`${sentence(cause)}; and it could not be undone: ${sentence(error)}`, {
      next: `npx tsx scripts/server/rotate-secret.ts ${rotation.name} goes on with it`,
      cause,
    });
  }
  report.info(`everything is as it was: ${rotation.name} has its old value`);
}
