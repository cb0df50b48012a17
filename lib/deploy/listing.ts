import { duration, table } from '../format.ts';
import { type DeploymentRecord, type Release, sameImages } from './deployment.ts';

/** The deployments as a person reads them, newest first; the one that runs is marked. */
export function describeDeployments(
  records: readonly DeploymentRecord[],
  running: Release | undefined,
  now: Date,
): string {
  if (records.length === 0)
    return `no deployment was recorded here${running ? `; ${running.version} runs` : ''}`;
  const newest =
    running &&
    records.findLast(
      (one) => one.did !== 'migrate' && one.returnedTo === undefined && sameImages(one, running),
    );
  const rows = records
    .toReversed()
    .map((one) => [
      one === newest ? '*' : '',
      one.version,
      `${duration(now.getTime() - Date.parse(one.at))} ago`,
      one.did,
      outcome(one),
      one.migrated ? 'yes' : '',
      one.backup ?? '',
      one.who,
    ]);
  const head = ['', 'version', 'when', 'how', 'outcome', 'migrated', 'backup', 'who'];
  return `${table([head, ...rows])}\n* runs now${newest ? '' : `: ${running?.version ?? 'nothing that is whole'}, which no deployment recorded`}`;
}

function outcome({ did, verified, failed, returnedTo, ms }: DeploymentRecord): string {
  const after = ms > 0 ? ` after ${duration(ms)}` : '';
  if (verified) return `verified${after}`;
  if (did === 'migrate' && failed === undefined) return `done${after}`;
  return `failed: ${failed}${returnedTo === undefined ? '' : `; back to ${returnedTo}`}`;
}
