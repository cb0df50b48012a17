import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../failure.ts';
import { request, textOf, type WebAddress } from '../../web.ts';

const ANSWER_MS = 10_000;
const POLL_MS = 250;
/** One that answers, but wrongly, may still be starting: it has this long, where the containers are healthy. */
const PATIENCE_MS = 10_000;
/** Larger answers are documents, not the verdict of a health check. */
const LARGEST_VERDICT = 20_000;
const DEPTH = 3;

/** Words by which health checks say that something is wrong, wherever they stand: `"database": "error"`. */
const ILL =
  /^(un(healthy|available|reachable|known)|error|fail(ed|ing|ure)?|down|(dis|not )connected|degraded|critical|not .*)$/i;

/** What an address is found to answer: the status, and what is wrong with it, if something is. */
export interface Finding {
  url: string;
  answer: string;
  ok: boolean;
}

/** Asks until the answer is right, or has been wrong for ten seconds. Redirects are not followed. */
export async function checkUrl(url: WebAddress, signal: AbortSignal): Promise<Finding> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const finding = await askOnce(url, signal);
    if (finding.ok || Date.now() > deadline) return finding;
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function askOnce(address: WebAddress, signal: AbortSignal): Promise<Finding> {
  const url = String(address);
  try {
    const response = await request(address.reveal(), {
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    const illness = response.status === 200 ? illnessIn(await textOf(response)) : undefined;
    const answer = [String(response.status), ...(illness ? [illness] : [])].join(': ');
    return { url, answer, ok: response.status === 200 && illness === undefined };
  } catch (error) {
    signal.throwIfAborted();
    return { url, answer: `no answer (${messageOf((error as Error).cause ?? error)})`, ok: false };
  }
}

/** What an answer in JSON says to be wrong: `status is "unhealthy"`. */
export function illnessIn(text: string): string | undefined {
  if (text.length > LARGEST_VERDICT) return undefined;
  try {
    return illness(JSON.parse(text), '', DEPTH);
  } catch {
    // No JSON: that it is there is all that can be said of it.
    return undefined;
  }
}

function illness(value: unknown, path: string, depth: number): string | undefined {
  if (typeof value === 'string' && ILL.test(value.trim()))
    return `${path || 'it'} is ${JSON.stringify(value)}`;
  if (value === false && /(^|\.)(ok|healthy|success|ready)$/i.test(path)) return `${path} is false`;
  if (typeof value !== 'object' || value === null || Array.isArray(value) || depth === 0) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const found = illness(item, path ? `${path}.${key}` : key, depth - 1);
    if (found) return found;
  }
  return undefined;
}
