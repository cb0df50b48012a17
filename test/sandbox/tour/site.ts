import { appendFile, cp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { region } from '../cloud/aws.ts';
import type { Droplet } from '../hosts/droplet.ts';
import { knownHosts } from '../hosts/known-hosts.ts';
import { checkout, directory, sandboxDir, stateDir } from '../names.ts';
import type { World } from '../world.ts';
import { ACME_SERVER } from './authority.ts';
import { REPOSITORY } from './droplet.ts';

export const DOMAIN = 'bloaty-app.test';
export const SECRET = 'bloaty/tour';
const ACME_EMAIL = 'ops@example.org';
/** Of those that are for documentation (RFC 5737): nobody has it. */
const PUBLIC_ADDRESS = '203.0.113.7';

/** The name of the app's image in the sandbox's registry. */
export const imageOf = ({ aws }: World): string => `${aws.registry}/bloaty/web`;

/** The app's repository with one commit: what it consists of, and how its image is made. @returns its directory */
export async function makeRepository(image: string, base: string): Promise<string> {
  const dir = join(directory(stateDir, 'tour'), 'bloaty');
  await rm(dir, { recursive: true, force: true });
  await cp(join(sandboxDir, 'tour/site'), dir, { recursive: true });
  await rename(join(dir, 'env.template'), join(dir, '.env.template'));
  const own = { IMAGE: image, ACME_EMAIL, ACME_SERVER };
  await appendFile(
    join(dir, '.env.template'),
    Object.entries(own)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  await writeFile(join(dir, 'Dockerfile'), `FROM ${base}\nARG VERSION\nENV APP_VERSION=\${VERSION}\n`);
  const who = ['-c', 'user.name=tour', '-c', 'user.email=tour@example.org'];
  for (const words of [
    ['init', '-q', '-b', 'main'],
    ['add', '.'],
    [...who, 'commit', '-q', '-m', 'The app'],
  ])
    await execa('git', words, { cwd: dir });
  return dir;
}

/** A clone of this checkout as it is now: a host fetches that commit each time, also if somebody commits meanwhile. */
export async function thisCommit(): Promise<string> {
  const dir = join(directory(stateDir, 'tour'), 'opsbook.git');
  await rm(dir, { recursive: true, force: true });
  await execa('git', ['clone', '--quiet', '--bare', '--shared', checkout, dir]);
  return dir;
}

/** A time of day at which this tour does not run any more, on a droplet whose clock is UTC. */
const ELSEWHEN = `0 ${(new Date().getUTCHours() + 12) % 24} * * *`;

/** Settings with which the scripts operate the app on the droplet. */
export function siteSettings(world: World, { ports, ssh }: Droplet, root: string): Record<string, string> {
  return {
    ...{ APP: 'bloaty', APP_DIR: '/opt/bloaty', APP_USER: 'deploy', APP_DIRECTORIES: 'uploads' },
    ...{ TARGET: `ssh://deploy@${ssh.host}:${ssh.port}`, SSH_IDENTITY_FILE: ssh.keyFile },
    ...{ SSH_KNOWN_HOSTS: knownHosts, AWS_ENDPOINT_URL: world.aws.url, AWS_REGION: region },
    ...{ APP_REPOSITORY: `file://${REPOSITORY}`, OPSBOOK_REPOSITORY: `file://${checkout}` },
    ...{ SECRETS_FROM: `secretsmanager:${SECRET}`, IMAGE: imageOf(world), ROLLOUT_SERVICES: 'web' },
    // At its own time cron would run what needs the name on the droplet, where nobody knows it.
    ...{ RENEW_SCHEDULE: ELSEWHEN, VERIFY_SCHEDULE: ELSEWHEN },
    ...{ DOMAIN, ACME_EMAIL, ACME_SERVER, EXPECTED_ADDRESS: PUBLIC_ADDRESS, HEALTHY_FOR: '2' },
    ...{ HEALTH_URL: `https://${DOMAIN}/health`, VERSION_URL: `https://${DOMAIN}/api/version` },
    REMOTE_CREATE_USER: 'create-user',
    // This machine's way to the domain, and its trust in the authority.
    NODE_EXTRA_CA_CERTS: root,
    NODE_OPTIONS: `--import ${pathToFileURL(join(sandboxDir, 'tour/public-address.ts')).href}`,
    ...{ TOUR_NAME: DOMAIN, TOUR_ADDRESS: PUBLIC_ADDRESS, TOUR_PORTS: `80=${ports[80]},443=${ports[443]}` },
  };
}
