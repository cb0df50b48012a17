import { checkAll } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { DeployContext } from '../look.ts';
import { parseRecords } from '../record.ts';
import type { Environment, Prospect, Release, Strategy } from '../strategy.ts';
import { composeApp, type Model } from './app.ts';
import { prospectOfCommit } from './build.ts';
import { headOf, moveCommand } from './checkout.ts';
import { containersOf, lastLines } from './containers.ts';
import { migrate } from './migrate.ts';
import { isPinned, pin, pinBoot } from './pinning.ts';
import { parsePins, pinsFile } from './pins.ts';
import { refuseNoDocker, refuseOtherEnvironment } from './preflight.ts';
import { prospectOf, prospectOfReturn } from './prospect.ts';
import { prune } from './prune.ts';
import { appContainers, describeContainers, runningRelease } from './running.ts';
import { switchTo } from './switch.ts';

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
