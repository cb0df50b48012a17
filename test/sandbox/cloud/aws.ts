import { forgetLogins } from '../machine/compose.ts';
import {
  containerId,
  docker,
  isRunning,
  ourLabel,
  publishedPort,
  removeContainer,
} from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName, prefix } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';
import { readState } from '../state.ts';
import { answers, waitFor } from '../wait.ts';
import { registryPort } from './front/ecr/address.ts';
import { balancerPorts } from './front/elbv2/balance.ts';
import { buckets, seed } from './seed.ts';

export const region = 'eu-north-1';

const name = containerName('aws');
const port = 5000;

/** With a dot: a host's engine does not pass names of one label on to the sandbox's network. */
const domain = 'aws.sandbox';

/** AWS as the hosts and their containers see it. */
export const insideUrl = `http://${domain}:${port}`;

/** AWS as this machine sees it. */
export async function awsUrl(engine: Engine): Promise<string> {
  return `http://127.0.0.1:${await publishedPort(engine, name, port)}`;
}

/**
 * ECR's registry as this machine's engine sees it, and as its hosts' engines do (hosts/registry.ts); undefined where a
 * sandbox still runs that is older than it.
 */
export async function registryName(engine: Engine): Promise<string | undefined> {
  const port = await publishedPort(engine, name, registryPort).catch(() => undefined);
  return port === undefined ? undefined : `127.0.0.1:${port}`;
}

/** A running AWS with its buckets and users. */
export async function ensureAws(engine: Engine, image: string): Promise<void> {
  if (await isRunning(engine, name, image)) {
    if (readState().awsContainer === (await containerId(engine, name))) return;
  }
  await step('starting AWS (moto and its front)', async () => {
    await removeContainer(engine, name); // its data was in its memory
    forgetLogins();
    const argv = ['run', '--detach', '--name', name, '--hostname', 'aws', ...ourLabel];
    argv.push('--network', network);
    for (const open of [port, ...balancerPorts]) argv.push('--publish', `127.0.0.1::${open}`);
    argv.push('--publish', `127.0.0.1::${registryPort}`, '--env', `SANDBOX_CONTAINER=${name}`);
    // Clients put the bucket into the host name unless told otherwise.
    const names = [domain, ...Object.values(buckets).map((bucket) => `${bucket}.${domain}`)];
    argv.push(...names.flatMap((alias) => ['--network-alias', alias]));
    argv.push('--env', `MOTO_S3_CUSTOM_ENDPOINTS=${insideUrl}`);
    // Nothing is checked until the seed ends it by a call to /moto-api/reset-auth.
    argv.push('--env', 'INITIAL_NO_AUTH_ACTION_COUNT=1000000', '--env', `AWS_DEFAULT_REGION=${region}`);
    // The front runs commands on the containers that are this sandbox's instances.
    const socket = (engine.host ?? 'unix:///var/run/docker.sock').replace('unix://', '');
    argv.push('--volume', `${socket}:/run/engine.sock`, '--env', `SANDBOX_PREFIX=${prefix}`);
    await docker(engine, [...argv, image]);
    const url = await awsUrl(engine);
    await waitFor('AWS to answer', 30, () => answers(`${url}/moto-api/data.json`));
    await seed(url, await containerId(engine, name));
  });
}
