import { messageOf } from './failure.ts';
import type { Secret } from './secret.ts';
import { request } from './web.ts';

const TIMEOUT_MS = 10_000;

/** A moment of a run that a watcher wants to know (the healthchecks.io convention). */
type Beat = 'start' | 'success' | 'fail';

/**
 * The address for a beat: `URL/start`, `URL` and `URL/fail`. `{script}` in the URL is replaced by the script's
 * name, so that each cron entry has a check of its own.
 */
export function heartbeatUrl(url: string, script: string, beat: Beat): URL {
  const address = new URL(url.replaceAll('{script}', script));
  if (beat !== 'success') address.pathname = `${address.pathname.replace(/\/$/, '')}/${beat}`;
  return address;
}

/** Whether a script pings `url`: without `{script}` in it there is one check, and that is the backup's. */
export function hasHeartbeat(url: string, script: string): boolean {
  return url.includes('{script}') || script === 'backup';
}

/** Pings the heartbeat; resolves to what went wrong, if anything: a watcher that is down stops no backup. */
export function beat(
  url: Secret,
  script: string,
  moment: Beat,
  body = '',
  timeoutMs = TIMEOUT_MS,
): Promise<string | undefined> {
  return post(heartbeatUrl(url.reveal(), script, moment), body, 'text/plain', timeoutMs);
}

/** Sends a failure's message to a Slack-compatible webhook; resolves to what went wrong, if anything. */
export function notify(url: Secret, text: string, timeoutMs = TIMEOUT_MS): Promise<string | undefined> {
  return post(new URL(url.reveal()), JSON.stringify({ text }), 'application/json', timeoutMs);
}

async function post(url: URL, body: string, type: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const response = await request(url, {
      method: 'POST',
      body,
      headers: { 'content-type': type },
      signal: AbortSignal.timeout(timeoutMs),
    });
    await response.body?.cancel();
    return response.ok ? undefined : `${url.host} answered ${response.status}`;
  } catch (error) {
    return `${url.host}: ${messageOf((error as Error).cause ?? error)}`;
  }
}
