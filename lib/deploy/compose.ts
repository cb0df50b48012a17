import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { composeCommand, envFileOf, projectDirectory } from '../compose.ts';
import { withEntry } from '../env-file.ts';
import { checkAll, Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { editHostFile, runForSecret } from '../host-files.ts';
import { redact } from '../secret.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import { type ComposeApp, composeApp, type Model } from './compose-app.ts';
import { headOf, moveCommand, prospectOfCommit } from './compose-build.ts';
import {
  appContainers,
  containersOf,
  describeContainers,
  lastLines,
  removeCommand,
  runningRelease,
} from './compose-containers.ts';
import { prune } from './compose-image.ts';
import { prospectOf, prospectOfReturn, refuseNoDocker, refuseOtherEnvironment } from './compose-preflight.ts';
import { parsePins, pinsFile, switchTo } from './compose-switch.ts';
import { type Environment, type Prospect, parseRecords, type Release, type Strategy } from './deployment.ts';
import type { DeployContext } from './health.ts';

/** What is to be run, and where. */
interface Migration {
  service: string;
  command: string;
  timeoutMs: number;
}

const containerName = (app: ComposeApp, { version }: Release): string =>
  `${app.dir.split('/').at(-1)}-migrate-${version.replaceAll(/[^\w.-]/g, '-')}`;

/** A container of the new image, beside what runs: with the app's settings, network and volumes, without its entrypoint. */
const migrateCommand = (app: ComposeApp, release: Release, { service, command }: Migration): Command =>
  app.command(
    ...(['next.yml', 'run', '--rm', '--no-deps', '--no-TTY', '--name', containerName(app, release)] as const),
    ...['--entrypoint', 'sh', service, '-c', command],
  );

/**
 * Migrates with the new image, while the old version runs; every line that it writes is told.
 * @throws Failure when it fails, or does not end in time: then it was ended
 */
async function migrate(
  app: ComposeApp,
  release: Release,
  migration: Migration,
  say: (line: string) => void,
): Promise<void> {
  const { host } = app;
  const { service, command, timeoutMs } = migration;
  await app.files.write('next.yml', pinsFile(release));
  const { services } = await app.model('next.yml');
  const needed = Object.keys(services[service]?.depends_on ?? {});
  if (needed.length > 0)
    await host.run(app.command('next.yml', 'up', '--detach', '--no-recreate', ...needed));
  const name = containerName(app, release);
  // That of a run which was cut off goes on by itself, and two must not run at once.
  await host.run(removeCommand([name]));
  const running = host.start(migrateCommand(app, release, migration));
  running.stdin.end();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    running.kill();
  }, timeoutMs);
  try {
    await Promise.all([tell(running.stdout, say), tell(running.stderr, say), running.done]);
  } catch (error) {
    // The command line's end is not the container's.
    await host.uninterrupted.run(removeCommand([name]));
    if (late)
      throw failed(
        `"${command}" did not end within ${duration(timeoutMs)} (MIGRATE_TIMEOUT), and was ended`,
        error,
      );
    if (error instanceof CommandFailure)
      throw failed(`"${command}" exited with ${error.code}: ${error.words}`, error);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

const failed = (what: string, cause: unknown) =>
  new Failure(`the migration ${what}`, {
    next: 'see how far it came: what it did is not undone, but what runs was not changed',
    cause,
  });

async function tell(stream: Readable, say: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream })) if (line.trim() !== '') say(redact(line));
}

/**
 * Whether a `docker compose up` in the app's directory, at boot or by hand, runs what was deployed, although nothing but
 * the env file tells it so.
 */
async function isPinned({ host, dir, settings: { SECRETS_FILE } }: ComposeApp): Promise<boolean> {
  const config = composeCommand(dir, { SECRETS_FILE }, ['config', '--format', 'json']);
  const text = await runForSecret(host, cmd`sh -c ${PROBE} probe ${config}`);
  return text.includes('"x-opsbook"');
}

const PROBE = 'unset COMPOSE_FILE; "$@" 2>/dev/null || true';

/**
 * For the unit that starts the app at boot: it has COMPOSE_FILE and the env file as they were at set-up. Where
 * COMPOSE_FILE in the environment would keep Compose from reading the .env beside it, that is named as well.
 */
async function pinBoot({ host, dir, files, composeFile, settings }: ComposeApp): Promise<void> {
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
  const file = envFileOf(dir, settings);
  const project = projectDirectory(dir, settings);
  // The later one wins.
  const all = file ? [file] : project === dir ? [] : await existing(host, [`${project}/.env`, `${dir}/.env`]);
  const lines = [
    `COMPOSE_FILE=${quoted(composeFile)}\n`,
    ...(all.length > 0 ? [`COMPOSE_ENV_FILES=${quoted(all.join(','))}\n`] : []),
  ];
  if ((await files.read('deployed.env')) !== lines.join(''))
    await files.write('deployed.env', lines.join(''));
}

async function existing(host: Host, paths: readonly string[]): Promise<string[]> {
  const look = 'for file; do [ ! -e "$file" ] || printf "%s\\n" "$file"; done';
  return (await host.run(cmd`sh -c ${look} look ${paths}`)).split('\n').filter(Boolean);
}

/**
 * Lets Compose itself read the pinned version, by COMPOSE_FILE in the app's env file.
 * @throws Failure when it does not read it even so
 */
async function pin(app: ComposeApp): Promise<void> {
  const { host, dir, envFile, composeFile } = app;
  await editHostFile(host, envFile, (text) => withEntry(text ?? '', 'COMPOSE_FILE', composeFile));
  if (await isPinned(app)) return;
  throw new Failure(
    `docker compose in ${dir} does not read .opsbook/deployed.yml, though ${envFile} says so`,
    {
      next: `see what it says: cd ${dir} && ${composeCommand(dir, app.settings, ['config', '--quiet']).text}`,
    },
  );
}

/** What the file says that tells of a change under way. */
interface Underway {
  version: string;
  at: string;
  who: string;
  /** The commit that the app's directory was at before. */
  head?: string | undefined;
  /** What ran before: the ids of the containers, and the image of each service. */
  ids?: string[];
  images?: Record<string, string>;
}

/** Whether a release is what ran before. */
const ranBefore = (images: Readonly<Record<string, string>>, release: Release): boolean =>
  Object.entries(release.images).every(([service, { id }]) => images[service] === id);

/** A compose app on one host. */
export async function composeStrategy(
  host: Host,
  settings: DeployContext['settings'],
  signal: AbortSignal,
  environment: Environment,
): Promise<Strategy> {
  await refuseNoDocker(host);
  const app = await composeApp(host, settings);
  const { files } = app;
  const { HEALTH_TIMEOUT, HEALTHY_FOR, ROLLOUT_SERVICES: rollout = [], DRAIN_COMMAND: drain } = settings;
  const patience = { timeoutMs: HEALTH_TIMEOUT * 1000, healthyForMs: HEALTHY_FOR * 1000, signal };
  const caller = { region: settings.AWS_REGION, signal };
  let read: Promise<Model> | undefined;
  /** What changes in it while we run, the images, nobody asks of it. */
  const model = (): Promise<Model> => {
    read ??= files.read('deployed.yml').then((text) => app.model(text === '' ? 'none' : 'deployed.yml'));
    return read;
  };
  const records = async () => parseRecords(await files.read('deployments.jsonl'));
  const containers = async () => appContainers(app, await model(), settings.IMAGE);
  const running = async () => {
    const pinned = parsePins(await files.read('deployed.yml'));
    return runningRelease(await containers(), [...(await records()), ...(pinned ? [pinned] : [])]);
  };
  const underway = async (): Promise<Underway | undefined> => {
    const text = await files.read('deploying.json');
    return text === '' ? undefined : (JSON.parse(text) as Underway);
  };
  return {
    running,
    async unfinished() {
      const found = await underway();
      if (!found) return undefined;
      const now = describeContainers(await containers(), await records());
      return `the change to ${found.version}, begun ${found.at} by ${found.who}, was cut off: ${now}`;
    },
    preflight: (wanted) =>
      asItRuns(async () => {
        const known = [await model(), await containers()] as const;
        if ('commit' in wanted) return prospectOfCommit(app, known[0], settings, wanted.commit, known[1]);
        return prospectOf(app, known[0], settings, wanted, known[1], caller);
      }),
    preflightReturn: (release) =>
      asItRuns(async () => prospectOfReturn(app, settings, release, await containers(), caller)),
    migrate: (release, command, say) => {
      const timeoutMs = settings.MIGRATE_TIMEOUT * 1000;
      return migrate(app, release, { service: settings.APP_SERVICE, command, timeoutMs }, say);
    },
    async switchTo(release, who, step) {
      const earlier = await underway();
      const {
        head,
        ids = [],
        images = {},
      } = earlier ?? { head: await headOf(host, app.dir), ...(await whatRuns()) };
      const now: Underway = {
        version: release.version,
        at: new Date().toISOString(),
        who,
        head,
        ids,
        images,
      };
      await files.write('deploying.json', JSON.stringify(now));
      await pinWhatRuns(await running());
      // A release of an image has no commit: it goes with the files that were there before the change.
      const commit = release.commit ?? head;
      if (commit !== undefined && commit !== (await headOf(host, app.dir)))
        await host.run(moveCommand(app.dir, commit));
      const back = environment !== 'may differ' && earlier !== undefined && ranBefore(images, release);
      // What ran before a change that was cut off has the environment of then.
      const trusted = new Set(environment === 'may differ' ? [] : earlier?.ids);
      await switchTo(app, release, { rollout, patience, drain, earlier: trusted, back }, step);
      if (!(await isPinned(app))) await pin(app);
      await pinBoot(app);
    },
    async postmortem(release) {
      const all = await containersOf(app, (await model()).name, Object.keys(release.images));
      const ours = all.filter((one) => one.imageId === release.images[one.service]?.id);
      return (await Promise.all(ours.map((one) => lastLines(host, one)))).flat();
    },
    records,
    async record(record) {
      const commit = record.commit ?? (record.did === 'found' ? await headOf(host, app.dir) : undefined);
      await files.append('deployments.jsonl', JSON.stringify({ ...record, commit }));
      // A change that was cut off is still to be told of after a migration by itself.
      if (record.did !== 'migrate') await files.remove('deploying.json', 'next.yml');
    },
    prune: async (keep) => prune(host, await records(), keep),
  };

  async function asItRuns(look: () => Promise<Prospect>): Promise<Prospect> {
    if (environment !== 'as it runs') return look();
    const looking = look();
    await checkAll([async () => refuseOtherEnvironment(app, await model()), () => looking]);
    return looking;
  }

  async function whatRuns(): Promise<Required<Pick<Underway, 'ids' | 'images'>>> {
    const all = [...(await containers()).values()].flat().filter(({ status }) => status === 'running');
    return {
      ids: all.map(({ id }) => id),
      images: Object.fromEntries(all.map(({ service, imageId }) => [service, imageId])),
    };
  }

  /** Before the first deployment: from here on a reboot starts what runs now, whatever the compose files say. */
  async function pinWhatRuns(release: Release | undefined): Promise<void> {
    if (!release || (await isPinned(app))) return;
    if ((await files.read('deployed.yml')) === '') await files.write('deployed.yml', pinsFile(release));
    await pin(app);
    await pinBoot(app);
  }
}
