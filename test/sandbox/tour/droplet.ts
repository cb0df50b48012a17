import { existsSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { NODE_DIR } from '../../../lib/server/setup-machine.ts';
import { type Droplet, removeDroplet } from '../hosts/droplet.ts';
import { docker, tryDocker } from '../machine/docker.ts';
import { type Engine, engineEnv } from '../machine/engine.ts';
import { SandboxError } from '../names.ts';
import { up, type World } from '../world.ts';

/** Where on the droplet the app's repository is, in the place of GitHub. */
export const REPOSITORY = '/srv/bloaty.git';
const MACHINE_CA = '/etc/ssl/certs/ca-certificates.crt';

/** The sandbox with an instance and a droplet on which nothing is set up. */
export async function bareDroplet(): Promise<World & { droplet: Droplet }> {
  const wanted = ['aws', 'droplet', 'instance'] as const;
  let world = await up([...wanted]);
  const used = ['exec', world.droplet?.container ?? '', 'test', '-e', NODE_DIR];
  if ((await tryDocker(world.engine, used)).code === 0) {
    await removeDroplet(world.engine);
    world = await up([...wanted]);
  }
  const { droplet } = world;
  if (!droplet) throw new SandboxError('the droplet is not up');
  return { ...world, droplet };
}

/** Puts there what a droplet would fetch from nodejs.org and GitHub, which cannot be reached everywhere. */
export async function placeDownloads(engine: Engine, container: string, repository: string): Promise<void> {
  const npm = realpathSync((await execa('sh', ['-c', 'command -v npm'])).stdout).replace(/\/bin\/[^/]+$/, '');
  const run = (script: string, input?: string) =>
    docker(engine, ['exec', '--interactive', container, 'sh', '-euc', script], input);
  await run(
    `mkdir -p ${NODE_DIR}/bin ${NODE_DIR}/lib/node_modules /etc/ssl/certs /usr/local/share/ca-certificates`,
  );
  await docker(engine, ['cp', realpathSync(process.execPath), `${container}:${NODE_DIR}/bin/node`]);
  await docker(engine, ['cp', npm, `${container}:${NODE_DIR}/lib/node_modules/npm`]);
  await docker(engine, ['cp', join(repository, '.git'), `${container}:${REPOSITORY}`]);
  // git trusts a repository whose owner is another, and npm what this machine trusts.
  await run(`ln -s ../lib/node_modules/npm/bin/npm-cli.js ${NODE_DIR}/bin/npm
    printf '[safe]\\n\\tdirectory = *\\n' >/etc/gitconfig`);
  if (!existsSync(MACHINE_CA)) return;
  await docker(engine, ['cp', realpathSync(MACHINE_CA), `${container}:/etc/ssl/certs/machine.crt`]);
  await run('echo cafile=/etc/ssl/certs/machine.crt >/root/.npmrc');
}

/** Puts images there that a droplet would pull from Docker Hub: name in compose files → tag on the machine's engine. */
export async function placeImages(
  engine: Engine,
  container: string,
  images: Record<string, string>,
): Promise<void> {
  const options = { env: engineEnv(engine), extendEnv: false };
  await execa('docker', ['save', ...Object.values(images)], { ...options, buffer: false }).pipe(
    'docker',
    ['exec', '--interactive', container, 'docker', 'load', '--quiet'],
    options,
  );
  for (const [name, tag] of Object.entries(images))
    await docker(engine, ['exec', container, 'docker', 'tag', tag, name]);
}
