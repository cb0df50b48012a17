import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Voice } from '../../lib/output.ts';

/** A directory of the test's own. */
export function tempDir(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'opsbook-test-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Waits until `holds`, at most ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !holds(); await sleep(5)) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
  }
}

/** Whether a process is there; one that ended and was not waited for is not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A voice that remembers what it was told. */
export function recorder(): Voice & { heard: unknown[][] } {
  const heard: unknown[][] = [];
  const hear =
    (name: string) =>
    (...what: unknown[]) =>
      void heard.push([name, ...what.filter((w) => typeof w !== 'number')]);
  const [start, progress, done, failed] = ['start', 'progress', 'done', 'failed'].map(hear) as never[];
  const [say, table, output] = ['say', 'table', 'output'].map(hear) as never[];
  return { heard, start, progress, done, failed, say, table, output } as unknown as Voice & {
    heard: unknown[][];
  };
}

/** An HTTP server on a port of its own, and the requests that reached it. */
export async function httpServer(
  t: TestContext,
  answer: (response: ServerResponse) => void,
): Promise<{ url: string; requests: Array<{ path: string; type: string; body: string }> }> {
  const requests: Array<{ path: string; type: string; body: string }> = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    requests.push({ path: request.url ?? '', type: request.headers['content-type'] ?? '', body });
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}
