import { registryName } from '../cloud/aws.ts';
import type { ImageName } from '../images/catalogue.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName } from '../names.ts';
import { type Droplet, describeDroplet, ensureDroplet, removeDroplet } from './droplet.ts';
import {
  describeInstances,
  ensureInstances,
  fleet,
  giveRoles,
  type InstanceHost,
  instance,
  instanceImages,
} from './fleet.ts';
import { type HostSpec, haltHost } from './host.ts';
import { leadToRegistry, proxyToRegistry } from './registry.ts';

/** Parts of the sandbox that are hosts without an app. */
export const hostParts = ['fleet', 'instance', 'droplet'] as const;

export interface HostsWorld {
  /** hosts managed by SSM: three alike, and one */
  fleet: InstanceHost[];
  instance: InstanceHost[];
  /** a bare machine with sshd */
  droplet?: Droplet;
}

const wantedInstances = (wanted: readonly string[]): HostSpec[] => [
  ...(wanted.includes('fleet') ? fleet : []),
  ...(wanted.includes('instance') ? instance : []),
];

/** Images that these parts need. */
export const hostImages = (wanted: readonly string[]): ImageName[] => [
  ...(wantedInstances(wanted).length > 0 ? instanceImages : []),
  ...(wanted.includes('droplet') ? (['droplet'] as const) : []),
];

/** Starts those of the wanted parts that do not run; `aws` is done when AWS has its users. */
export async function ensureHosts(
  engine: Engine,
  wanted: readonly string[],
  images: Map<ImageName, string>,
  aws: Promise<void>,
): Promise<void> {
  const instances = wantedInstances(wanted);
  const bare = wanted.includes('droplet') ? ensureDroplet(engine, images.get('droplet')!) : undefined;
  if (instances.length > 0) {
    await ensureInstances(engine, instances, images);
    await aws;
    await giveRoles(engine, instances);
  }
  await bare;
}

/** Those of these hosts that run. */
export async function describeHosts(engine: Engine): Promise<HostsWorld> {
  const [many, one, droplet] = await Promise.all([
    describeInstances(engine, fleet),
    describeInstances(engine, instance),
    describeDroplet(engine),
  ]);
  return { fleet: many, instance: one, ...(droplet ? { droplet } : {}) };
}

/** Makes the name of ECR's registry good on these hosts, and on the `others` that have an engine. */
export async function leadHostsToRegistry(engine: Engine, others: string[]): Promise<void> {
  const name = await registryName(engine);
  if (!name) return;
  const { fleet, instance, droplet } = await describeHosts(engine);
  const containers = [...fleet, ...instance].map(({ container }) => container);
  await Promise.all([...containers, ...others].map((container) => leadToRegistry(engine, container, name)));
  if (droplet) await proxyToRegistry(engine, droplet.container, name);
}

/** Ends what runs on these hosts; their containers are removed with all others. */
export async function haltHosts(engine: Engine): Promise<void> {
  const names = [...fleet, ...instance].map(({ name }) => containerName(name));
  await Promise.all([...names.map((name) => haltHost(engine, name)), removeDroplet(engine)]);
}
