import { appSettings } from './app.ts';
import type { Environment } from './env-file.ts';
import { EXIT, Failure, messageOf, sentence } from './failure.ts';
import type { Report } from './output.ts';
import { mask, type Secret } from './secret.ts';
import { resolveSettings, type Setting } from './settings.ts';
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

/** Those who watch a run from afar: a heartbeat, and a webhook that hears of failures. */
export interface Watcher {
  started(): Promise<void>;
  ended(error: unknown): Promise<void>;
}

/** The watchers that the environment names; they are there even when another setting is wrong. */
export async function watch(script: string, environment: Environment, report: Report): Promise<Watcher> {
  const webhook = await unlessWrong(appSettings.NOTIFY_URL, environment);
  const heart = await unlessWrong(appSettings.HEARTBEAT_URL, environment);
  const pinged = heart && hasHeartbeat(heart.reveal(), script) ? heart : undefined;
  const heard = async (sent: Promise<string | undefined>, by: string) => {
    const problem = await sent;
    if (problem) report.warn(`${by} was not told: ${problem}`);
  };
  return {
    async started() {
      if (pinged) await heard(beat(pinged, script, 'start'), 'HEARTBEAT_URL');
    },
    async ended(error) {
      const text = error === undefined ? '' : mask(sentence(error));
      if (pinged)
        await heard(beat(pinged, script, error === undefined ? 'success' : 'fail', text), 'HEARTBEAT_URL');
      // Exit 2 at a terminal is a slip of the hand; from cron it is a broken installation.
      const slip = error instanceof Failure && error.exit === EXIT.usage && process.stdin.isTTY;
      if (webhook && error !== undefined && !slip) {
        await heard(
          notify(webhook, `${environment.raw.APP ?? 'opsbook'}: ${script} failed: ${text}`),
          'NOTIFY_URL',
        );
      }
    },
  };
}

/** The address of a watcher; what is wrong with it is told with all that is wrong with the settings. */
async function unlessWrong(
  setting: Setting<Secret, true>,
  { raw, refused }: Environment,
): Promise<Secret | undefined> {
  return (await resolveSettings({ setting }, raw, refused).catch(() => undefined))?.setting;
}
