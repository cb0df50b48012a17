import { ask, illness, isVersion, versionsIn } from '../../../health.ts';
import type { WebAddress } from '../../../web.ts';
import { ok, problem, type Row } from '../row.ts';

/** HEALTH_URL answers 200, and does not say that it is ill. */
export async function healthRow(url: WebAddress, signal: AbortSignal): Promise<Row> {
  const expected = 'answers 200, and does not say that it is ill';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (!ill) return ok('health', `${url} answers 200`, expected);
  const todo = answer.location ? 'set HEALTH_URL to where it leads' : 'see why: remote status, remote logs';
  return problem('health', ill, expected, todo);
}

interface Verified {
  /** ISO 8601, UTC. */
  at?: string;
  version: string;
  commit?: string | undefined;
}

/** The newest deployment that was seen to work, of the records on the host. */
export function lastVerified(deployments: string): Verified | undefined {
  const records = deployments.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Verified & { verified?: boolean }];
    } catch {
      // Cut off by a full disk, or by the end of what was read.
      return [];
    }
  });
  // Of several hosts each has records of its own.
  return records
    .filter(({ verified, version }) => verified === true && typeof version === 'string')
    .sort((a, b) => (a.at ?? '').localeCompare(b.at ?? ''))
    .at(-1);
}

/** VERSION_URL tells the version of the last verified deployment, where there is one. */
export async function versionRow(
  url: WebAddress,
  verified: Verified | undefined,
  signal: AbortSignal,
): Promise<Row> {
  const expected = verified ? `${verified.version}, the last verified deployment` : 'a version';
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (ill) return problem('version', ill, expected, 'see why: remote status, remote logs');
  const told = versionsIn(answer.text);
  if (told.length === 0)
    return problem('version', `${url} tells no version`, expected, 'set VERSION_URL to what tells it');
  const found = told.join(', ');
  if (!verified) return ok('version', `${found}; no deployment is recorded to compare with`, expected);
  if (told.some((one) => isVersion(one, verified))) return ok('version', found, expected);
  return problem(
    'version',
    `${found} answers, not ${verified.version}`,
    expected,
    `deploy what should run: update-deployment ${verified.version}`,
  );
}
