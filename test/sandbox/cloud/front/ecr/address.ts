import { hostname } from 'node:os';
import { engineJson } from '../engine.ts';

/** Where the front listens for engines, in its container. */
export const registryPort = 5443;

let found: Promise<string> | undefined;

/**
 * The name of the registry: `127.0.0.1:PORT`, with the port that the machine's engine publishes. Hosts of the sandbox
 * lead the same address to it, so that one name is good everywhere; engines take plain HTTP from 127.0.0.1 unasked.
 */
export function registry(): Promise<string> {
  found ??= look();
  return found;
}

interface Inspected {
  NetworkSettings: { Ports: Record<string, { HostPort: string }[] | null> };
}

async function look(): Promise<string> {
  const container = process.env.SANDBOX_CONTAINER ?? hostname();
  const { NetworkSettings } = await engineJson<Inspected>('GET', `/containers/${container}/json`);
  const port = NetworkSettings.Ports[`${registryPort}/tcp`]?.[0]?.HostPort;
  if (!port) throw new Error(`${container} publishes no port ${registryPort}`);
  return `127.0.0.1:${port}`;
}
