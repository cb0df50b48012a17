import { createInterface } from 'node:readline';
import { Failure, messageOf } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { Report } from '../../report.ts';
import type { Context } from '../../script.ts';
import { arm, disarm, later, undo } from './guard.ts';
import type { Act, Guard, Item } from './item.ts';
import { barring, look, type Standing } from './look.ts';

/** The sign before an item, as every script that converges prints it. */
const SIGN = { so: '=', other: '~', absent: '+', barred: '!' } as const;

type Doing = Pick<Context, 'host' | 'report' | 'change' | 'dryRun' | 'signal'> & {
  /** Reaches the host once more, by a connection of its own. */
  login: () => Promise<void>;
};

const isOpen = (standing: Standing | undefined) => standing === 'other' || standing === 'absent';

/**
 * Makes the items so that are not, in their order, and looks again until all are: a package may bring what another item
 * does not want, such as a timer.
 * @returns what each was when it was found
 * @throws Failure when an item cannot be made, or is not so after it was made
 */
export async function converge(items: readonly Item[], context: Doing): Promise<Standing[]> {
  const found = await look(context.host, items);
  const made = new Set<Item>();
  for (const [i, item] of items.entries()) found[i] = await settle(item, found[i]!, made, context);
  while (made.size > 0 && !context.dryRun) {
    const now = await look(context.host, items);
    const open = items.filter((_, i) => isOpen(now[i]));
    if (open.length === 0) break;
    refuseUnmade(
      context.host,
      open.filter((item) => made.has(item)),
    );
    for (const item of open) found[items.indexOf(item)] = await settle(item, 'other', made, context);
  }
  return found;
}

/** Makes one item so, if it still is not: what was made before it may have brought it about. */
async function settle(item: Item, found: Standing, made: Set<Item>, context: Doing): Promise<Standing> {
  const { host, report, change } = context;
  const standing = found !== 'so' && made.size > 0 ? (await look(host, [item]))[0]! : found;
  const title = `${SIGN[standing]} ${item.title}`;
  if (standing === 'so') report.info(title);
  else if (standing === 'barred') report.warn(`${title}: ${await barring(host, item)}`);
  else {
    const { guard } = item;
    const acts = guard ? [arm(guard), ...item.make, guard.proof, disarm(guard)] : item.make;
    await change(title, acts.flatMap(shown), async () => {
      if (guard) await guarded(item, guard, context);
      else for (const act of item.make) await perform(host, act, report);
      made.add(item);
    });
  }
  return standing;
}

/** Makes what may close the way in; whatever fails before a new login was seen, it is undone. */
async function guarded(item: Item, guard: Guard, { host, report, login, signal }: Doing): Promise<void> {
  await perform(host, arm(guard), report);
  try {
    for (const act of [...item.make, guard.proof]) await perform(host, act, report);
    await login();
    await perform(host, disarm(guard), report);
  } catch (error) {
    const undone = await host.uninterrupted.run(undo(guard)).then(
      () => 'it was undone',
      () => later,
    );
    // Of a run that was interrupted no failure is told.
    if (signal.aborted) report.warn(`${host.name}: ${item.title}: ${undone}`);
    throw new Failure(`${host.name}: ${item.title}: ${messageOf(error)}; ${undone}`, {
      next: 'see why from a second terminal (ssh -v), and run it again',
      cause: error,
    });
  }
}

function refuseUnmade(host: Host, items: readonly Item[]): void {
  if (items.length === 0) return;
  throw new Failure(`${host.name}: made, but still not so: ${items.map(({ title }) => title).join('; ')}`, {
    next: 'run it again with --verbose, and look at what its commands say',
  });
}

/** A command and the file that it is given, as a dry run prints them. */
const shown = ({ about, input, ...command }: Act) => [
  about ?? command,
  ...(input === undefined
    ? []
    : input
        .trimEnd()
        .split('\n')
        .map((row) => `  | ${row}`)),
];

/** What package managers, and we, say of a lock that another process holds. */
const WAITING = /^(waiting for .*|Waiting for cache lock: .*|Waiting for process with pid .*)$/;

async function perform(host: Host, { about: _, input, ...command }: Act, report: Report): Promise<void> {
  // What is put into an open stream SSM takes for a secret, for which a bare instance has neither AWS CLI nor role.
  if (input !== undefined) return void (await host.run(command, input));
  const running = host.start(command);
  running.stdin.end();
  for (const stream of [running.stdout, running.stderr])
    createInterface({ input: stream }).on('line', (row) => {
      if (WAITING.test(row)) report.info(row);
    });
  await running.done;
}
