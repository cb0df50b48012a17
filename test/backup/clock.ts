import { promises } from 'node:fs';
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Preloaded by NODE_OPTIONS, it lets a script believe that it is $CLOCK_DAYS days later: retention and garbage go by
 * clocks, and nobody waits a week for a test. What the script stores is of that time as well.
 */
const shift = Number(process.env['CLOCK_DAYS'] ?? 0) * 86_400_000;
const Real = Date;

globalThis.Date = class extends Real {
  constructor(...args: ConstructorParameters<typeof Real> | []) {
    if (args.length === 0) super(Real.now() + shift);
    else super(...(args as ConstructorParameters<typeof Real>));
  }

  static override now(): number {
    return Real.now() + shift;
  }
} as DateConstructor;

// The sandbox's S3 takes this for its clock.
const { request } = http;
http.request = ((...args: Parameters<typeof request>) => {
  const sent = request(...args);
  sent.setHeader('X-Sandbox-Now', new Date().toISOString().slice(0, 19));
  return sent;
}) as typeof request;

const { rename, utimes } = promises;
promises.rename = async (from, to) => {
  await rename(from, to);
  if (String(from).endsWith('.partial')) await utimes(to, new Date(), new Date());
};
syncBuiltinESMExports();
