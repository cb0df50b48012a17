import { Failure } from '../../../failure.ts';
import type { Host } from '../../../host.ts';
import type { Context } from '../../../script.ts';
import { INSIDE, type Row, unknown, unset } from '../row.ts';
import { selects, type VerifySettings } from '../settings.ts';
import { clockRows, rebootRows } from './clock.ts';
import { containerRows, restartRows } from './containers.ts';
import { cronRows } from './cron.ts';
import { logRows } from './logs.ts';
import { look, type Seen } from './look.ts';
import { diskRows, inodeRows, memoryRows, swapRows } from './machine.ts';
import { portRows } from './ports.ts';

type Settings = VerifySettings & Context['settings'];

const JOBS = {
  ...{ backup: 'BACKUP_SCHEDULE', prune: 'PRUNE_SCHEDULE' },
  ...{ drill: 'DRILL_SCHEDULE', verify: 'VERIFY_SCHEDULE' },
} as const;

/** The part of the look that a check reads, where it is not called as the check is. */
const PART: Readonly<Record<string, string>> = { restarts: 'containers' };

/** What each check makes of what was seen. */
const RULES: Readonly<Record<string, (seen: Seen, text: string, settings: Settings, now: Date) => Row[]>> = {
  containers: (_, text) => containerRows(text),
  restarts: (_, text, __, now) => restartRows(text, now),
  logs: (_, text) => logRows(text),
  disk: (_, text) => diskRows(text),
  inodes: (_, text) => inodeRows(text),
  memory: (_, text) => memoryRows(text),
  swap: (_, text) => swapRows(text),
  clock: ({ clock }, text) => clockRows(clock, text),
  reboot: (_, text) => rebootRows(text),
  cron(_, text, settings, now) {
    const jobs = Object.entries(JOBS).filter(([, name]) => settings[name] !== undefined);
    const rows = cronRows(
      text,
      settings.APP,
      jobs.map(([job]) => job),
      now,
    );
    return rows.length > 0 ? rows : [unset('cron', `${Object.values(JOBS).join(', ')} are`)];
  },
  ports: (_, text, settings) => portRows(text, settings.OPEN_PORTS),
};

export interface Looked {
  rows: Row[];
  /** The records of deployments on the host, a line of JSON each; absent where they could not be read. */
  deployments?: string;
}

/** Looks at a host, in one round trip, and judges what is seen. */
export async function insideRows(host: Host, settings: Settings, signal: AbortSignal): Promise<Looked> {
  const checks = INSIDE.filter((check) => check in RULES && selects(settings.CHECKS, check));
  const version = settings.VERSION_URL && selects(settings.CHECKS, 'version') ? ['version'] : [];
  const parts = [...new Set([...checks.map((check) => PART[check] ?? check), ...version])];
  if (parts.length === 0) return { rows: [] };
  let seen: Seen;
  try {
    seen = await look(host, settings, parts);
  } catch (error) {
    if (signal.aborted || !(error instanceof Failure)) throw error;
    const { message, next = 'look at the host itself' } = error;
    return { rows: checks.map((check) => unknown(check, message, next)) };
  }
  const now = new Date();
  const rows = checks.flatMap((check) => {
    const { text, failed } = seen.section(PART[check] ?? check);
    return failed
      ? [unknown(check, failed, remedy(failed))]
      : (RULES[check]?.(seen, text, settings, now) ?? []);
  });
  const deployments = seen.section('version');
  return { rows, ...(deployments.failed ? {} : { deployments: deployments.text }) };
}

/** What to do where a part of the look failed. */
function remedy(failed: string): string {
  if (/denied|permitted|password|root|sudo/i.test(failed))
    return 'let the user of TARGET do it: group docker, sudo without a password';
  if (/docker daemon/i.test(failed)) return 'start Docker: systemctl start docker';
  return 'correct APP_DIR and COMPOSE_FILE, or look at the host itself';
}
