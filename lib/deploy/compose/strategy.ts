import type { Host } from '../../host.ts';
import { parseRecords } from '../record.ts';
import type { DeploySettings } from '../settings.ts';
import type { Release, Strategy } from '../strategy.ts';
import { composeApp } from './app.ts';
import { containersOf, lastLines } from './containers.ts';
import { isPinned, pin } from './pinning.ts';
import { parsePins, pinsFile } from './pins.ts';
import { refuseNoDocker } from './preflight.ts';
import { prospectOf, prospectOfReturn } from './prospect.ts';
import { appContainers, describeContainers, runningRelease } from './running.ts';
import { switchTo } from './switch.ts';

/** A compose app on one host. */
export async function composeStrategy(
  host: Host,
  settings: DeploySettings & { APP_DIR: string },
  signal: AbortSignal,
): Promise<Strategy> {
  await refuseNoDocker(host);
  const app = await composeApp(host, settings);
  const { files } = app;
  const { HEALTH_TIMEOUT, HEALTHY_FOR, ROLLOUT_SERVICES: rollout = [], DRAIN_COMMAND: drain } = settings;
  const patience = { timeoutMs: HEALTH_TIMEOUT * 1000, healthyForMs: HEALTHY_FOR * 1000, signal };
  const records = async () => parseRecords(await files.read('deployments.jsonl'));
  const model = async () => app.model((await files.read('deployed.yml')) === '' ? 'none' : 'deployed.yml');
  const containers = async () => appContainers(app, await model(), settings.IMAGE);
  const known = async () => [
    ...(await records()),
    ...[parsePins(await files.read('deployed.yml'))].filter((one) => !!one),
  ];
  const running = async () => runningRelease(await containers(), await known());
  return {
    running,
    async unfinished() {
      const text = await files.read('deploying.json');
      if (text === '') return undefined;
      const { version, at, who } = JSON.parse(text) as { version: string; at: string; who: string };
      return `the change to ${version}, begun ${at} by ${who}, was cut off: ${describeContainers(await containers(), await records())}`;
    },
    preflight: async (wanted) => prospectOf(app, await model(), settings, wanted, await containers()),
    preflightReturn: async (release) => prospectOfReturn(app, settings, release, await containers()),
    async migrate() {},
    async switchTo(release, who, step) {
      await files.write(
        'deploying.json',
        JSON.stringify({ version: release.version, at: new Date().toISOString(), who }),
      );
      await pinWhatRuns(await running());
      await switchTo(app, release, { rollout, patience, drain }, step);
      if (!(await isPinned(app))) await pin(app);
    },
    async postmortem(release) {
      const all = await containersOf(app, (await model()).name, Object.keys(release.images));
      const ours = all.filter((one) => one.imageId === release.images[one.service]?.id);
      return (await Promise.all(ours.map((one) => lastLines(host, one)))).flat();
    },
    records,
    async record(record) {
      await files.append('deployments.jsonl', JSON.stringify(record));
      await files.remove('deploying.json', 'next.yml');
    },
    async prune() {
      return 0;
    },
  };

  /** Before the first deployment: from here on a reboot starts what runs now, whatever the compose files say. */
  async function pinWhatRuns(release: Release | undefined): Promise<void> {
    if (!release || (await isPinned(app))) return;
    if ((await files.read('deployed.yml')) === '') await files.write('deployed.yml', pinsFile(release));
    await pin(app);
  }
}
