import { engineJson } from './engine.ts';

/** An EC2 instance: a container of this sandbox with the label of an instance id. */
export interface Instance {
  id: string;
  container: string;
  name: string;
  tags: Record<string, string>;
  running: boolean;
  /** its agent's heart does not beat, but the instance is there */
  paused: boolean;
  privateIp: string;
  launched: Date;
}

/** Labels by which the front knows the containers that are instances; hosts/host.ts sets them. */
const idLabel = 'opsbook.instance';
const tagsLabel = 'opsbook.instance-tags';
const sandbox = process.env.SANDBOX_PREFIX ?? 'opsbook';

interface Container {
  Id: string;
  Names: string[];
  Labels: Record<string, string>;
  State: string;
  Created: number;
  NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
}

/** All instances of the sandbox as the engine knows them now, in the order of their ids. */
export async function instances(): Promise<Instance[]> {
  const filters = JSON.stringify({ label: [`opsbook.sandbox=${sandbox}`, idLabel] });
  const path = `/containers/json?all=1&filters=${encodeURIComponent(filters)}`;
  const containers = await engineJson<Container[]>('GET', path);
  return containers.map(instance).sort((a, b) => a.id.localeCompare(b.id));
}

function instance(container: Container): Instance {
  const { Labels, State, NetworkSettings } = container;
  return {
    id: Labels[idLabel] ?? '',
    container: container.Id,
    name: container.Names[0]?.slice(1) ?? '',
    tags: JSON.parse(Labels[tagsLabel] ?? '{}') as Record<string, string>,
    running: State === 'running' || State === 'paused',
    paused: State === 'paused',
    privateIp: Object.values(NetworkSettings.Networks)[0]?.IPAddress ?? '',
    launched: new Date(container.Created * 1000),
  };
}
