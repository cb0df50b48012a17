import { createHash } from 'node:crypto';
import { execa } from 'execa';
import { docker, ourLabel, removeContainer, tryDocker } from '../machine/docker.ts';
import { type Engine, engineEnv } from '../machine/engine.ts';
import { withLock } from '../machine/lock.ts';
import { containerName, label, storeVolume } from '../names.ts';
import { step } from '../progress.ts';
import { waitFor } from '../wait.ts';

/** Images that the hosts' engines know from the start: name in compose files → tag on the machine's engine. */
export type HostImages = Record<string, string>;

/** Label of a store's volume: the app that its images are for. */
const storeLabel = 'opsbook.store';

/** What a container needs to run a Docker engine of its own, where --privileged may be more than the machine has. */
export const nestingArgs = [
  ...['--cap-add', 'SYS_ADMIN', '--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_PTRACE'],
  ...['--security-opt', 'seccomp=unconfined', '--security-opt', 'apparmor=unconfined'],
  ...['--security-opt', 'systempaths=unconfined', '--cgroupns', 'host'],
  ...['--volume', '/sys/fs/cgroup:/sys/fs/cgroup:rw'],
];

/**
 * The volume from which hosts take their images. Loading images takes longer than everything else together, so it is
 * done once, into a pristine store; a host starts with hard links to its layers.
 */
export async function ensureStore(
  engine: Engine,
  name: string,
  hostImage: string,
  images: HostImages,
): Promise<string> {
  const key = createHash('sha256')
    .update(JSON.stringify([hostImage, images]))
    .digest('hex')
    .slice(0, 12);
  const volume = `${storeVolume}-${name}-${key}`;
  const complete = [
    'run',
    '--rm',
    '--network',
    'none',
    '--volume',
    `${volume}:/store`,
    '--entrypoint',
    'test',
  ];
  const isComplete = async (): Promise<boolean> => {
    if ((await tryDocker(engine, ['volume', 'inspect', volume])).code !== 0) return false;
    return (await tryDocker(engine, [...complete, hostImage, '-e', '/store/complete'])).code === 0;
  };
  if (await isComplete()) return volume;
  await withLock('build', async () => {
    if (await isComplete()) return;
    await step(`loading the images for ${name}'s host`, () => fill(engine, volume, name, hostImage, images));
  });
  return volume;
}

async function fill(
  engine: Engine,
  volume: string,
  app: string,
  hostImage: string,
  images: HostImages,
): Promise<void> {
  await removeOldStores(engine, app);
  const labels = ['--label', `${label}=store`, '--label', `${storeLabel}=${app}`];
  await docker(engine, ['volume', 'create', ...labels, volume]);
  const name = containerName('store');
  await removeContainer(engine, name);
  const argv = ['run', '--detach', '--name', name, ...ourLabel, ...nestingArgs, '--network', 'none'];
  await docker(engine, [...argv, '--volume', `${volume}:/store`, hostImage, 'pristine']);
  try {
    const inside = (...args: string[]): Promise<string> => docker(engine, ['exec', name, ...args]);
    await waitFor('the engine of the image store', 30, () => inside('docker', 'version').then(() => true));
    const options = { env: engineEnv(engine), extendEnv: false };
    await execa('docker', ['save', ...Object.values(images)], { ...options, buffer: false }).pipe(
      'docker',
      ['exec', '--interactive', name, 'docker', 'load', '--quiet'],
      options,
    );
    for (const [wanted, tag] of Object.entries(images)) await inside('docker', 'tag', tag, wanted);
    await inside('docker', 'rmi', ...Object.values(images));
    await docker(engine, ['stop', name]);
    const mark = [
      'run',
      '--rm',
      '--network',
      'none',
      '--volume',
      `${volume}:/store`,
      '--entrypoint',
      'touch',
    ];
    await docker(engine, [...mark, hostImage, '/store/complete']);
  } finally {
    await removeContainer(engine, name);
  }
}

/** Stores of images that have changed since; one that a host still uses cannot be removed, and stays. */
async function removeOldStores(engine: Engine, app: string): Promise<void> {
  const stdout = await docker(engine, ['volume', 'ls', '-q', '--filter', `label=${storeLabel}=${app}`]);
  for (const volume of stdout.split('\n').filter(Boolean)) await tryDocker(engine, ['volume', 'rm', volume]);
}
