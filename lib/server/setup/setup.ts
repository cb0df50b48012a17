import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure } from '../../command.ts';
import { checkAll, EXIT, Failure, messageOf } from '../../failure.ts';
import { count } from '../../format.ts';
import { localHost } from '../../hosts/local.ts';
import { openHosts } from '../../hosts/open.ts';
import type { Context } from '../../script.ts';
import { mask } from '../../secret.ts';
import { converge } from './apply.ts';
import type { Source } from './items/opsbook.ts';
import { plan, type SetupSettings, type Wanted } from './plan.ts';
import { facts, preflight, refusePlaces } from './preflight.ts';
import { USER_DATA_MAX, userData } from './user-data.ts';

type Setup = Context & { settings: SetupSettings };

/** Makes the host ready, or prints the script that would. */
export async function setUp(
  kind: Wanted['kind'],
  context: Setup,
  system: Wanted['system'] | undefined,
): Promise<void> {
  const { host, settings, report, json } = context;
  if (system) return print(kind, context, system);
  const known = await facts(host, settings);
  const source = await sourceOf(settings);
  const wanted = { kind, settings, facts: known, source, system: await preflight(host, known, settings) };
  if (known.zone !== 'UTC')
    report.warn(
      `${host.name} lives by ${known.zone}: cron's times are those. Next: timedatectl set-timezone UTC`,
    );
  const items = plan(wanted);
  const before = await converge(items, { ...context, login: () => login(context) });
  const of = (standing: string) => before.filter((found) => found === standing).length;
  const counts = `${of('so')} unchanged, ${of('absent')} created, ${of('other')} changed`;
  report.summary(
    `${count(items.length, 'item')}: ${counts}${of('barred') > 0 ? `, ${of('barred')} left out` : ''}`,
  );
  if (json) report.data(JSON.stringify(items.map(({ title }, i) => ({ title, was: before[i] }))));
}

/** sshd that reads its files again listens again after a moment; a packet that is dropped takes ssh 10 s by itself. */
const LOGIN_MS = 10_000;

/** @throws Failure when the host cannot be reached by a new connection */
async function login({ settings, signal }: Setup): Promise<void> {
  const end = Date.now() + LOGIN_MS;
  for (;;) {
    try {
      const { close } = await openHosts(settings, { signal });
      return await close();
    } catch (error) {
      if (signal.aborted || Date.now() > end)
        throw new Failure(`a new login failed: ${messageOf(error)}`, { cause: error });
      await sleep(500, undefined, { signal });
    }
  }
}

async function print(
  kind: Wanted['kind'],
  { settings, report }: Setup,
  system: Wanted['system'],
): Promise<void> {
  await checkAll([
    () => refusePlaces(settings),
    () => refuseSecretIn('OPSBOOK_REPOSITORY', settings, 'name one that is fetched from without a password'),
    () =>
      refuseSecretIn('APP_REPOSITORY', settings, `unset it, and clone to ${settings.APP_DIR} after the boot`),
  ]);
  const source = await sourceOf(settings);
  if (!source)
    throw new Failure('OPSBOOK_REPOSITORY is not set, and a machine at its first boot has no opsbook', {
      exit: EXIT.usage,
      next: 'set OPSBOOK_REPOSITORY to where it can be fetched from without a password',
    });
  // Nothing is known of the machine yet, but that clouds let root in, on port 22.
  const known = { login: 'root', sshPorts: [] };
  const text = userData(
    plan({ kind, settings, facts: known, source, system }),
    `Set-up of ${settings.APP} on ${system.name}, by opsbook`,
  );
  const size = Buffer.byteLength(text);
  if (kind === 'ec2' && size > USER_DATA_MAX)
    report.warn(
      `user data of ${size} bytes, of which EC2 takes ${USER_DATA_MAX}: leave schedules to a later set-up`,
    );
  // Masked, it would be another script.
  if (mask(text) !== text)
    throw new Failure('user data would have a secret of this environment in it', {
      exit: EXIT.usage,
      next: "run it with an --env-file that has the set-up's settings alone",
    });
  report.data(text);
}

/** What is masked when it is printed would be missing at the first boot, and who reads user data reads all of it. */
function refuseSecretIn(
  name: 'OPSBOOK_REPOSITORY' | 'APP_REPOSITORY',
  settings: SetupSettings,
  next: string,
): void {
  const url = settings[name] ?? '';
  if (mask(url) === url) return;
  throw new Failure(`${name} has a password or a token in it, which user data must not have`, {
    exit: EXIT.usage,
    next,
  });
}

/** Where opsbook's own commit can be fetched from, if anywhere. */
async function sourceOf({ OPSBOOK_REPOSITORY: repository }: SetupSettings): Promise<Source | undefined> {
  if (!repository) return undefined;
  try {
    const head = await localHost().run({ argv: ['git', 'rev-parse', 'HEAD'], cwd: import.meta.dirname });
    return { repository, commit: head.trim() };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(
      'this opsbook is no git checkout, so that nobody can tell which one the host is to fetch',
      {
        next: 'run it from a clone, or unset OPSBOOK_REPOSITORY and copy opsbook to OPSBOOK_DIR on the host',
        cause: error,
      },
    );
  }
}
