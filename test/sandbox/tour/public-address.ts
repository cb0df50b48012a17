/**
 * Loaded before a script, in the place of a domain that one would have bought: TOUR_NAME is TOUR_ADDRESS in DNS, and a
 * connection there goes to the port of this machine that leads to the droplet's (TOUR_PORTS: `80=32801,443=32802`).
 */
import { promises as dns } from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { Socket } from 'node:net';

const { TOUR_NAME: name = '', TOUR_ADDRESS: address = '', TOUR_PORTS: pairs = '' } = process.env;
const ports = new Map(pairs.split(',').map((pair) => pair.split('=') as [string, string]));

const lookup = dns.lookup as (host: string, options?: { all?: boolean }) => Promise<unknown>;
dns.lookup = (async (host: string, options: { all?: boolean } = {}) => {
  if (host !== name) return lookup(host, options);
  const found = { address, family: 4 };
  return options.all ? [found] : found;
}) as typeof dns.lookup;
syncBuiltinESMExports();

interface Options {
  host?: string;
  port?: number | string;
}

const connect = Socket.prototype.connect as (...args: unknown[]) => Socket;
Socket.prototype.connect = function (this: Socket, ...args: unknown[]): Socket {
  const [first] = args;
  // node:net calls it with what it has made of its own arguments: an array that it knows again.
  const options = (Array.isArray(first) ? first[0] : first) as Options | undefined;
  const port = [name, address].includes(options?.host ?? '') ? ports.get(String(options?.port)) : undefined;
  if (port !== undefined) {
    const there = { ...options, host: '127.0.0.1', port: Number(port) };
    if (Array.isArray(first)) first[0] = there;
    else args[0] = there;
  }
  return Reflect.apply(connect, this, args);
} as typeof Socket.prototype.connect;
