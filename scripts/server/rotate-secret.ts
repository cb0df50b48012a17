import type { Command } from '../../lib/command.ts';
import type { Context } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import type { Which } from '../../lib/server/rotate-secret.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';
import type { Host } from '../../lib/shell.ts';

/** Services have this long to become healthy, in seconds. */
const HEALTHY_WITHIN = '180';

/** One thing that has to change; it is made old again in the same way as it is made new. */
interface Change {
  readonly title: string;
  readonly what: readonly (Command | string)[];
  /** Making old what never became new does nothing: what failed would only fail again. */
  apply(which: Which, on: Host): Promise<void>;
}

await script(import.meta, {
  does: 'Replace a generated secret or a PostgreSQL password everywhere, and check that it works, or undo it',
  step: 'Rotate a secret',
  example: 'npx tsx scripts/server/rotate-secret.ts POSTGRES_PASSWORD',
  settings: secretsSettings,
  operands: { '<name>': 'the name of the secret' },
  changes: true,
  reports: true,
  asks: true,
  lock: 'secrets',
  async run(context) {
    const { settings: s, operands, host, report, change, confirm, dryRun, json } = context;
    const lib = await import('../../lib/server/rotate-secret.ts');
    const { runningContainers, staleServices } = await import('../../lib/server/stale.ts');
    const { compose } = await import('../../lib/compose.ts');

    // No impact yet.
    const [name = ''] = operands;
    const plan = await lib.planRotation(name, s, host);
    const { roles, stores, file, users, continued } = plan;
    if (continued)
      report.warn(`the rotation of ${name} that began ${plan.rotation.began} was cut off; going on with it`);
    await lib.proveOld(plan, report);
    const known = [...roles.map((role) => `the role ${role.name} in ${role.service}`), ...users];
    report.info(`${name} is known to: ${known.join(', ') || 'no service that Compose knows'}`);
    const restart = users.length > 0 ? ` and recreates ${users.join(', ')}` : '';
    await confirm(`This changes ${name}${restart}. Go on?`);
    const rotation = await lib.withVerifiers(plan);

    const up = (services: readonly string[]) =>
      compose(host, s.APP_DIR, s).command(
        ...['up', '--detach', '--no-deps', '--wait', '--wait-timeout', HEALTHY_WITHIN],
        ...services,
      );
    const changes: Change[] = [
      ...roles.map((role) => ({
        title: `alter the role ${role.name} in ${role.service}`,
        what: [`ALTER ROLE ${role.name} PASSWORD (a SCRAM verifier)`],
        apply: (which: Which, on: Host) => lib.alterRole(role, rotation, which, on),
      })),
      ...stores.map((store) => ({
        title: `write ${store.uri}`,
        what: [`store ${name}`],
        apply: (which: Which) => lib.storeValue(store, rotation, which),
      })),
      {
        title: `write ${file.path}`,
        what: lib.changing(plan.made),
        apply: (which, on) => lib.writeEnvFile(plan, which, on),
      },
      {
        title: 'recreate the services that use it',
        what: users.length > 0 ? [up(users)] : [],
        async apply(_, on) {
          const stale = staleServices(await runningContainers(on, s));
          if (stale.length > 0) await on.run(up(stale));
        },
      },
    ];

    // From here on something is changed.
    await change('note the rotation', ['.opsbook/rotation.json'], () =>
      lib.noteRotation(host, s.APP_DIR, rotation),
    );
    const end = () => lib.noteRotation(host.uninterrupted, s.APP_DIR);
    const begun: Change[] = [];
    try {
      for (const one of changes) {
        begun.push(one);
        await change(one.title, one.what, () => one.apply('new', host));
      }
      await change('log in with the new value', [], () => lib.proveNew(plan));
    } catch (error) {
      await undo(context, begun, end, error);
      throw error;
    }
    await change('forget the old value', [], end);
    if (dryRun) return;
    const changed = roles.map((role) => `${role.service}/${role.name}`);
    report.data(json ? JSON.stringify({ name, roles: changed, recreated: users }) : name);
  },
});

/** Makes old again what was begun. @throws Failure where that fails, which says how to go on */
async function undo(
  { operands: [name], host, report }: Pick<Context, 'operands' | 'host' | 'report'>,
  begun: readonly Change[],
  end: () => Promise<void>,
  cause: unknown,
): Promise<void> {
  try {
    for (const { title, apply } of begun)
      await report.step(`undo: ${title}`, () => apply('old', host.uninterrupted));
    await end();
  } catch (error) {
    const { Failure, sentence } = await import('../../lib/failure.ts');
    throw new Failure(`${sentence(cause)}; and it could not be undone: ${sentence(error)}`, {
      next: `npx tsx scripts/server/rotate-secret.ts ${name} goes on with it`,
      cause,
    });
  }
  report.info(`everything is as it was: ${name} has its old value`);
}
