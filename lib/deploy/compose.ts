import { CommandFailure } from '../command.ts';
import { checkAll, Failure } from '../failure.ts';
import { duration } from '../format.ts';
import type { Step } from '../output.ts';
import { redact } from '../secret.ts';
import type { Host } from '../shell.ts';
import { type ComposeApp, composeApp, type Model } from './compose-app.ts';
import { headOf, moveCommand, planOfCommit } from './compose-build.ts';
import {
  appContainers,
  containersOf,
  describeContainers,
  lastLines,
  type Running,
  removeCommand,
  runningRelease,
} from './compose-containers.ts';
import { prune } from './compose-image.ts';
import { keepPinned, parsePins, pinFirst, pinsFile } from './compose-pin.ts';
import { planOf, planOfRelease, refuseNoDocker, refuseOtherEnvironment } from './compose-preflight.ts';
import { switchTo } from './compose-switch.ts';
import {
  type AppSettings,
  type DeployedApp,
  type Environment,
  type Plan,
  parseRecords,
  type Release,
  who,
} from './deployment.ts';
import { follow } from './streamed.ts';

/** An app of Docker Compose on one host. @throws Failure when Docker cannot be used there, or there is no app */
export async function appOnHost(
  host: Host,
  settings: AppSettings,
  signal: AbortSignal,
  environment: Environment,
): Promise<DeployedApp> {
  await refuseNoDocker(host);
  const app = await composeApp(host, settings, signal);
  const { files } = app;
  let read: Promise<Model> | undefined;
  /** Read once: nobody looks at what changes in it during a run, the images. */
  const model = (): Promise<Model> => {
    read ??= files.read('deployed.yml').then((text) => app.model(text === '' ? 'none' : 'deployed.yml'));
    return read;
  };
  const records = async () => parseRecords(await files.read('deployments.jsonl'));
  const containers = async () => appContainers(app, await model());
  const running = async () => {
    const pinned = parsePins(await files.read('deployed.yml'));
    return runningRelease(await containers(), [...(await records()), ...(pinned ? [pinned] : [])]);
  };
  const checked = async (plan: () => Promise<Plan>): Promise<Plan> => {
    if (environment !== 'as it runs') return plan();
    const [, found] = await checkAll([async () => refuseOtherEnvironment(app, await model()), plan]);
    return found;
  };
  return {
    records,
    running,
    async unfinished() {
      const found = await unfinishedChange(app);
      if (!found) return undefined;
      const now = describeContainers(await containers(), await records());
      return `the change to ${found.version}, begun ${found.at} by ${found.who}, was cut off: ${now}`;
    },
    preflight: (request) =>
      checked(async () => {
        const [known, runs] = [await model(), await containers()];
        if ('commit' in request) return planOfCommit(app, known, request.commit, runs);
        return planOf(app, known, request, runs);
      }),
    preflightRelease: (release) => checked(async () => planOfRelease(app, release, await containers())),
    migrate: (release, command, onLine) => migrate(app, release, command, onLine),
    switchTo: (release, step) => switchOver(app, release, { environment, containers, running }, step),
    async postmortem(release) {
      const all = await containersOf(app, (await model()).name, Object.keys(release.images));
      const ours = all.filter((one) => one.imageId === release.images[one.service]?.id);
      return (await Promise.all(ours.map((one) => lastLines(host, one)))).flat();
    },
    async record(record) {
      const commit = record.commit ?? (record.did === 'found' ? await headOf(host, app.dir) : undefined);
      await files.append('deployments.jsonl', JSON.stringify({ ...record, commit }));
      // A change that was cut off is still reported after a migration by itself.
      if (record.did !== 'migrate') await files.remove('deploying.json', 'next.yml');
    },
    prune: async (keep) => prune(host, await records(), keep),
  };
}

/** A change that is under way, or was cut off; written before it begins. */
interface Change {
  version: string;
  at: string;
  who: string;
  /** The commit that the app's directory was at before. */
  head?: string | undefined;
  /** What ran before: the ids of the containers, and the image of each service. */
  ids?: string[];
  images?: Record<string, string>;
}

async function unfinishedChange({ files }: ComposeApp): Promise<Change | undefined> {
  const text = await files.read('deploying.json');
  return text === '' ? undefined : (JSON.parse(text) as Change);
}

function runningIn(containers: Running): Required<Pick<Change, 'ids' | 'images'>> {
  const all = [...containers.values()].flat().filter(({ status }) => status === 'running');
  return {
    ids: all.map(({ id }) => id),
    images: Object.fromEntries(all.map(({ service, imageId }) => [service, imageId])),
  };
}

/** Whether a release is what ran before. */
const ranBefore = (images: Readonly<Record<string, string>>, release: Release): boolean =>
  Object.entries(release.images).every(([service, { id }]) => images[service] === id);

/**
 * Switches to a release, and remembers what ran before until the deployment is recorded: whoever takes over a change that
 * was cut off knows by it what to leave alone.
 */
async function switchOver(
  app: ComposeApp,
  release: Release,
  {
    environment,
    containers,
    running,
  }: {
    environment: Environment;
    containers(): Promise<Running>;
    running(): Promise<Release | undefined>;
  },
  step: Step,
): Promise<void> {
  const { host, dir, files } = app;
  const earlier = await unfinishedChange(app);
  const before = earlier ?? { head: await headOf(host, dir), ...runningIn(await containers()) };
  const { head, ids = [], images = {} } = before;
  const change = { version: release.version, at: new Date().toISOString(), who: who(), head, ids, images };
  await files.write('deploying.json', JSON.stringify(change));
  const runs = await running();
  if (runs) await pinFirst(app, runs);
  // A release of an image has no commit: it goes with the files that were there before the change.
  const commit = release.commit ?? head;
  if (commit !== undefined && commit !== (await headOf(host, dir))) await host.run(moveCommand(dir, commit));
  const mayDiffer = environment === 'may differ';
  const isRollback = !mayDiffer && earlier !== undefined && ranBefore(images, release);
  // What ran before a change that was cut off has the environment of then.
  const trusted = new Set(mayDiffer ? [] : earlier?.ids);
  await switchTo(app, release, { trusted, isRollback }, step);
  await keepPinned(app);
}

/**
 * Migrates with a container of the new image, while the old version runs: with the app's settings, network and volumes,
 * without its entrypoint.
 * @param onLine gets each line that it writes
 * @throws Failure when it fails, or does not end in time: then it was ended
 */
async function migrate(
  app: ComposeApp,
  release: Release,
  command: string,
  onLine: (line: string) => void,
): Promise<void> {
  const { host, settings } = app;
  const { APP_SERVICE: service, MIGRATE_TIMEOUT } = settings;
  await app.files.write('next.yml', pinsFile(release));
  const { services } = await app.model('next.yml');
  const needed = Object.keys(services[service]?.depends_on ?? {});
  if (needed.length > 0)
    await host.run(app.command('next.yml', 'up', '--detach', '--no-recreate', ...needed));
  const name = `${app.dir.split('/').at(-1)}-migrate-${release.version.replaceAll(/[^\w.-]/g, '-')}`;
  const flags = ['--rm', '--no-deps', '--no-TTY', '--name', name, '--entrypoint', 'sh'];
  // That of a run which was cut off goes on by itself, and two must not run at once.
  await host.run(removeCommand([name]));
  const running = host.start(app.command('next.yml', 'run', ...flags, service, '-c', command));
  running.stdin.end();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    running.kill();
  }, MIGRATE_TIMEOUT * 1000);
  try {
    await follow(running, (line) => onLine(redact(line)));
  } catch (error) {
    // The command line's end is not the container's.
    await host.uninterrupted.run(removeCommand([name]));
    if (!isLate && !(error instanceof CommandFailure)) throw error;
    const { code, words } = error as CommandFailure;
    const how = isLate
      ? `did not end within ${duration(MIGRATE_TIMEOUT * 1000)} (MIGRATE_TIMEOUT), and was ended`
      : `exited with ${code}: ${words}`;
    throw new Failure(`the migration "${command}" ${how}`, {
      next: 'check how far it came: what it did is not undone, but what runs was not changed',
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}
