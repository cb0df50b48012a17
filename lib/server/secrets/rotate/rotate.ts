import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure } from '../../../command.ts';
import { Failure, sentence } from '../../../failure.ts';
import type { Context } from '../../../script.ts';
import type { Secret } from '../../../secret.ts';
import type { SecretsSettings } from '../place.ts';
import type { Journal } from './journal.ts';
import type { Plan } from './plan.ts';
import { roleKey, type Step, stepsOf } from './steps.ts';

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
export async function verifiersOf({ roles, rotation }: Plan): Promise<Record<string, Secret>> {
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
