import { describeHost, ensureHost, type HostSpec } from '../hosts/host.ts';
import { ensureStore } from '../hosts/store.ts';
import type { ImageName } from '../images/catalogue.ts';
import { docker, isRunning, ourLabel, removeContainer } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';

/** A host without an app, on which names below `.test` lead to it, and an ACME server that finds it by them. */
export interface CertificatesWorld {
  hostContainer: string;
  /** with which ec2-user logs in on the host */
  keyFile: string;
  acmeContainer: string;
}

/** The proxies that the tests put on the host, by their name in compose files. */
const proxies: Record<string, ImageName> = { 'sandbox/nginx:1.26': 'nginx', 'sandbox/caddy:2.6': 'caddy' };
export const certificateImages: ImageName[] = ['host', 'pebble', ...Object.values(proxies)];

export const site: HostSpec = { name: 'site', user: 'ec2-user', morePorts: [] };
const pebble = containerName('pebble');

/** Starts the host and the ACME server. */
export async function ensureCertificates(engine: Engine, images: Map<ImageName, string>): Promise<void> {
  const host = images.get('host')!;
  const tags = Object.entries(proxies).map(([name, built]) => [name, images.get(built)!]);
  const store = await ensureStore(engine, site.name, host, Object.fromEntries(tags));
  const isNew = await ensureHost(engine, site, host, store);
  const image = images.get('pebble')!;
  // A new host has a new address.
  if (!isNew && (await isRunning(engine, pebble, image))) return;
  await step('starting pebble', async () => {
    await removeContainer(engine, pebble);
    const where = ['--network', network, '--network-alias', 'pebble.sandbox', ...ourLabel];
    await docker(engine, ['run', '--detach', '--name', pebble, ...where, image, `${site.name}.sandbox`]);
  });
}

export async function describeCertificates(engine: Engine): Promise<CertificatesWorld | undefined> {
  const host = await describeHost(engine, site);
  if (!host || !(await isRunning(engine, pebble))) return undefined;
  return { hostContainer: host.container, keyFile: host.ssh.keyFile, acmeContainer: pebble };
}
