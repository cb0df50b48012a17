import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { region } from '../sandbox/cloud/aws.ts';
import { ensureImages } from '../sandbox/images/catalogue.ts';
import { dockerConfig, ensureCompose } from '../sandbox/machine/compose.ts';
import { docker, isRunning, ourLabel, removeContainer } from '../sandbox/machine/docker.ts';
import { type Engine, engineEnv, findEngine } from '../sandbox/machine/engine.ts';
import { checkout, containerName, directory, prefix, stateDir } from '../sandbox/names.ts';
import { down } from '../sandbox/removal.ts';
import { up, type World } from '../sandbox/world.ts';
import { atEnd } from './cleanup.ts';
import { say } from './say.ts';

/** What every benchmark has: a sandbox with AWS, a directory of its own, the AWS CLI. */
export interface Bench {
  engine: Engine;
  aws: { url: string; credentials: { accessKeyId: string; secretAccessKey: string } };
  /** Tags of the sandbox's images. */
  images: { postgres: string; moto: string };
  /** Removed at the end; on a disk, not in memory. */
  dir: string;
  /** The container in which the AWS CLI and gzip run; `dir` has the same path in it. */
  tools: string;
  /** Environment with which a script runs: nothing of the shell's own settings. */
  env: Record<string, string>;
}

/** Brings up what is not up; what was not up before is taken down at the end. */
export async function openBench(): Promise<Bench> {
  const before = await findEngine();
  const wasUp = before !== undefined && (await isRunning(before, containerName('aws')));
  if (!wasUp) atEnd(() => down());
  const world = await up(['aws']);
  const { engine } = world;
  const images = await ensureImages(engine, ['moto', 'postgres', 'host']);
  await ensureCompose(engine, images.get('host')!);
  const dir = await mkdtemp(join(directory(stateDir), 'bench-'));
  atEnd(() => rm(dir, { recursive: true, force: true }));
  if (wasUp) say(`the sandbox "${prefix}" was up: it stays, with the generated databases`);
  return {
    engine,
    aws: { url: world.aws.url, credentials: world.aws.users.admin! },
    images: { postgres: images.get('postgres')!, moto: images.get('moto')! },
    dir,
    tools: await startTools(engine, images.get('moto')!, dir),
    env: await scriptEnvironment(world),
  };
}

/** The AWS CLI on the machine's own network, as a script on the machine is; with the machine's files at their path. */
async function startTools(engine: Engine, image: string, dir: string): Promise<string> {
  const name = containerName('bench-tools');
  await removeContainer(engine, name);
  atEnd(() => removeContainer(engine, name));
  const argv = [
    'run',
    '--detach',
    '--name',
    name,
    ...ourLabel,
    '--network',
    'host',
    '--volume',
    `${dir}:${dir}`,
  ];
  await docker(engine, [...argv, '--entrypoint', 'tini', image, '--', 'sleep', 'infinity']);
  return name;
}

async function scriptEnvironment({ engine }: World): Promise<Record<string, string>> {
  const config = await dockerConfig(engine);
  const { PATH = '', HOME = '/' } = process.env;
  const env: Record<string, string> = { PATH: `${checkout}/node_modules/.bin:${PATH}`, HOME };
  const host = engineEnv(engine).DOCKER_HOST;
  if (host) env.DOCKER_HOST = host;
  if (config) env.DOCKER_CONFIG = config;
  return env;
}

/** The settings with which an AWS client reaches an S3 endpoint as the administrator. */
export const awsEnvironment = ({ aws }: Bench, url = aws.url): Record<string, string> => ({
  AWS_ENDPOINT_URL: url,
  AWS_REGION: region,
  AWS_DEFAULT_REGION: region,
  AWS_ACCESS_KEY_ID: aws.credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: aws.credentials.secretAccessKey,
});
