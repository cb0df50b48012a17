import { appendFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A steady load of requests until SIGTERM: `load.ts URL PER_SECOND [FILE]`. Each is sent at its time whether the ones
 * before it were answered or not, as those of many users are. As browsers do (RFC 9112, 9.3.1), it sends a request again,
 * on a new connection, if that which it had used before was closed without an answer: a proxy that is reloaded closes
 * those that are idle. What fails is written to FILE at once; at the end one line of JSON says how many there were, what
 * came back, and how long the slowest took.
 */
const [url = '', rate = '100', file] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const TIMEOUT_MS = 10_000;
const versions: Record<string, number> = {};
const failures: string[] = [];
const times: number[] = [];
let again = 0;
let stopped = false;

function fail(what: string): void {
  failures.push(`${new Date().toISOString()} ${what}`);
  if (file) appendFileSync(file, `${failures.at(-1)}\n`);
}

function ask(started = performance.now(), isFirst = true): Promise<void> {
  return new Promise((resolve) => {
    const end = (what?: string) => {
      times.push(performance.now() - started);
      if (what !== undefined) fail(what);
      resolve();
    };
    const asked = request(url, { agent: isFirst && agent, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('error', (error) => end(error.message));
      response.on('end', () => {
        const version = /"version":"([^"]*)"/.exec(text)?.[1] ?? 'none';
        versions[version] = (versions[version] ?? 0) + 1;
        end(response.statusCode === 200 ? undefined : `status ${response.statusCode}`);
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (!asked.reusedSocket || error.code !== 'ECONNRESET') return end(error.message);
      again += 1;
      ask(started, false).then(resolve);
    });
    asked.end();
  });
}

process.once('SIGTERM', () => {
  stopped = true;
});
const open = new Set<Promise<void>>();
const started = performance.now();
for (let sent = 0; !stopped; sent += 1) {
  const due = started + (sent * 1000) / Number(rate);
  const wait = due - performance.now();
  if (wait > 0) await sleep(wait);
  const one = ask();
  open.add(one);
  void one.then(() => open.delete(one));
}
await Promise.all(open);
agent.destroy();
const sorted = times.sort((a, b) => a - b);
const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
const summary = {
  requests: times.length,
  failed: failures.length,
  ...(failures.length > 0 ? { first: failures.slice(0, 3) } : {}),
  again,
  versions,
  p99: at(0.99),
  slowest: at(1),
};
process.stdout.write(`${JSON.stringify(summary)}\n`);
