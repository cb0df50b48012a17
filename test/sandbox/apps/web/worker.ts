import { setTimeout as sleep } from 'node:timers/promises';
import { redis } from './redis.ts';

// A background process as such apps have one: it leaves a sign of life in Redis every second.
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
while (!stop.signal.aborted) {
  await redis(process.env.REDIS_URL ?? 'redis://redis:6379', 'INCR', 'worker:beats').catch((error: Error) =>
    console.error(error.message),
  );
  await sleep(1000, undefined, { signal: stop.signal }).catch(() => undefined);
}
