import { appSettings } from './app.ts';
import type { Environment } from './env-file.ts';
import { EXIT, Failure, sentence } from './failure.ts';
import { beat, hasHeartbeat, notify } from './notify.ts';
import type { Report } from './report.ts';
import { mask, type Secret } from './secret.ts';
import { resolveSettings, type Setting } from './settings.ts';

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
