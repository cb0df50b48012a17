import type { ImageName } from '../images/catalogue.ts';
import type { Engine } from '../machine/engine.ts';
import { describeHost, ensureHost, type Host, type HostSpec } from './host.ts';
import { giveRole, instanceId } from './instance.ts';
import { ensureStore } from './store.ts';

/** A host that is an EC2 instance, managed by SSM. */
export interface InstanceHost extends Host {
  id: string;
}

/** Hosts without an app: what a test deploys is its own. */
const instanceHost = (name: string, tags: Record<string, string>): HostSpec => ({
  name,
  user: 'ec2-user',
  morePorts: [8000],
  instance: { tags },
});

/** Three hosts alike, as behind a load balancer. */
export const fleet = ['node1', 'node2', 'node3'].map((name) =>
  instanceHost(name, { Name: 'hermes', Node: name }),
);

/** One host, found by its name. */
export const instance = [instanceHost('drawing', { Name: 'drawing-agent' })];

/** What their engines have from the start; the rest comes from a registry. */
const known: Record<string, ImageName> = { 'sandbox/web:1.0.0': 'web', 'sandbox/nginx:1.26': 'nginx' };
export const instanceImages: ImageName[] = ['host', ...Object.values(known)];

/** Starts these hosts side by side. */
export async function ensureInstances(
  engine: Engine,
  specs: HostSpec[],
  images: Map<ImageName, string>,
): Promise<void> {
  const image = images.get('host')!;
  const tags = Object.entries(known).map(([name, built]) => [name, images.get(built)!]);
  const store = await ensureStore(engine, 'instances', image, Object.fromEntries(tags));
  await Promise.all(specs.map((spec) => ensureHost(engine, spec, image, store)));
}

/** Gives each of them its role's credentials; AWS must have its users. */
export async function giveRoles(engine: Engine, specs: HostSpec[]): Promise<void> {
  const hosts = await describeInstances(engine, specs);
  await Promise.all(hosts.map(({ container }) => giveRole(engine, container)));
}

/** Those of the hosts that run. */
export async function describeInstances(engine: Engine, specs: HostSpec[]): Promise<InstanceHost[]> {
  const hosts = await Promise.all(specs.map((spec) => describeHost(engine, spec)));
  return hosts.filter((host) => host !== undefined).map((host) => ({ ...host, id: instanceId(host.name) }));
}
