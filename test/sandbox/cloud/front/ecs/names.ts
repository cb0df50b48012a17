import { randomBytes, randomInt } from 'node:crypto';
import { AwsError } from '../errors.ts';
import type { State } from '../state.ts';
import type { Service } from './state.ts';

export const arn = ({ region, account }: Pick<State, 'region' | 'account'>, kind: string): string =>
  `arn:aws:ecs:${region}:${account}:${kind}`;

export const newId = (): string => randomBytes(16).toString('hex');

/** As AWS makes them: nineteen digits. */
export const deploymentId = (): string =>
  `ecs-svc/${Array.from({ length: 19 }, (_, at) => randomInt(at === 0 ? 1 : 0, 10)).join('')}`;

/** The last part of an ARN, or the name itself. */
export const shortName = (nameOrArn: string): string => nameOrArn.split('/').at(-1) ?? '';

/** @throws AwsError as AWS does for a cluster that never was, or is deleted */
export function clusterName({ ecs }: State, nameOrArn = 'default'): string {
  const name = shortName(nameOrArn);
  if (ecs.clusters.get(name)?.status === 'ACTIVE') return name;
  throw new AwsError('ClusterNotFoundException', 'Cluster not found.');
}

/** @throws AwsError that tells a service that never was from one that is deleted */
export function serviceOf(state: State, cluster: string | undefined, nameOrArn = ''): Service {
  const found = state.ecs.services.get(`${clusterName(state, cluster)}/${shortName(nameOrArn)}`);
  if (!found) throw new AwsError('ServiceNotFoundException', 'Service not found.');
  if (found.status !== 'ACTIVE') throw new AwsError('ServiceNotActiveException', 'Service was not ACTIVE.');
  return found;
}

/** Dates as the JSON protocols write them: seconds since 1970. */
export function wire(value: unknown): unknown {
  if (value instanceof Date) return value.getTime() / 1000;
  if (Array.isArray(value)) return value.map(wire);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, wire(inner)]));
}
