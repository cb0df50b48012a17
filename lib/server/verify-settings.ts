import { isIP } from 'node:net';
import { composeSettings } from '../app.ts';
import { EXIT, Failure } from '../failure.ts';
import { count, parseAge } from '../format.ts';
import { healthUrlSettings } from '../health.ts';
import { list, optional, optionalSetting, parsed, setting, type Values } from '../settings.ts';
import { targetSettings } from '../target.ts';
import { certificateSettings } from './certificate-settings.ts';
import { secretsSettings } from './secret-settings.ts';
import { setupSettings } from './setup-settings.ts';

/** What is looked at, in the order in which it is told: from outside, then on each host. */
const OUTSIDE = ['dns', 'tls', 'redirect', 'health', 'version', 'backup'] as const;
export const INSIDE = [
  ...['containers', 'restarts', 'logs', 'disk', 'inodes', 'memory', 'swap', 'clock', 'reboot'],
  ...['cron', 'ports', 'secrets'],
] as const;
export const CHECKS: readonly string[] = [...OUTSIDE, ...INSIDE];

/**
 * `warning`: to be looked at, though all works; `unknown`: could not be looked at, `found` says why; `unset`: the
 * settings do not say what to look at.
 */
export type State = 'ok' | 'warning' | 'problem' | 'unknown' | 'unset';

/** One thing that was looked at. */
export interface Row {
  check: string;
  /** Where it was looked at; absent for what is seen from outside. */
  host?: string;
  state: State;
  found: string;
  /** What should have been found. */
  expected: string;
  /** What to do about it; empty where there is nothing to do. */
  todo: string;
  /** Lines that show what was found, such as those of a log. */
  lines?: readonly string[];
}

export const ok = (check: string, found: string, expected: string): Row => ({
  ...{ check, state: 'ok', found, expected, todo: '' },
});

export const warning = (check: string, found: string, expected: string, todo: string): Row => ({
  ...{ check, state: 'warning', found, expected, todo },
});

export const problem = (check: string, found: string, expected: string, todo: string): Row => ({
  ...{ check, state: 'problem', found, expected, todo },
});

export const unknown = (check: string, why: string, todo: string): Row => ({
  ...{ check, state: 'unknown', found: why, expected: 'can be looked at', todo },
});

export const unset = (check: string, names: string): Row => ({
  ...{ check, state: 'unset', found: `${names} not set`, expected: '', todo: '' },
});

/** Whether a row fails the run: what could not be seen was not seen to be well. */
export const isBad = ({ state }: Pick<Row, 'state'>): boolean => state === 'problem' || state === 'unknown';

/** @throws Failure with exit 3 when a row is bad */
export function refuseProblems(rows: readonly Row[]): void {
  const bad = rows.filter(isBad);
  const [first] = bad;
  if (!first) return;
  const where = first.host ? ` on ${first.host}` : '';
  const more = bad.length > 1 ? ` (${count(bad.length, 'problem')} in all)` : '';
  throw new Failure(`${first.check}${where}: ${first.found}${more}`, {
    exit: EXIT.problem,
    next: first.todo,
  });
}

function parseCheck(raw: string): { check: string; without: boolean } {
  const check = raw.replace(/^-/, '');
  if (!CHECKS.includes(check))
    throw new Error(`there is no check "${check}"; there are ${CHECKS.join(', ')}`);
  return { check, without: check !== raw };
}

function parseAddress(raw: string): string {
  if (isIP(raw) === 0) throw new Error(`"${raw}" is not an IP address`);
  return raw;
}

function parsePort(raw: string): number {
  if (!/^\d{1,5}$/.test(raw) || Number(raw) > 65_535) throw new Error(`"${raw}" is not a port`);
  return Number(raw);
}

const { BACKUP_SCHEDULE, PRUNE_SCHEDULE, DRILL_SCHEDULE, VERIFY_SCHEDULE } = setupSettings;

/** What an app and its hosts are compared with. */
export const verifySettings = {
  ...targetSettings,
  ...composeSettings,
  ...healthUrlSettings,
  ...{ BACKUP_SCHEDULE, PRUNE_SCHEDULE, DRILL_SCHEDULE, VERIFY_SCHEDULE },
  DOMAIN: optional(certificateSettings.DOMAIN),
  SECRETS_FROM: secretsSettings.SECRETS_FROM,
  EXPECTED_ADDRESS: optionalSetting('EXPECTED_ADDRESS', {
    about: 'the addresses that DOMAIN has to have in DNS, separated by commas',
    example: '203.0.113.7',
    type: list(parseAddress),
  }),
  OPEN_PORTS: setting('OPEN_PORTS', {
    about: 'the TCP ports of a host that others may reach, separated by commas',
    example: '22,80,443',
    default: '22,80,443',
    type: list(parsePort),
  }),
  BACKUP_MAX_AGE: setting('BACKUP_MAX_AGE', {
    about: 'how old the newest complete backup may be: 26h, 2d',
    example: '26h',
    default: '26h',
    type: parsed(parseAge),
  }),
  CHECKS: optionalSetting('CHECKS', {
    about: 'the checks that verify makes, separated by commas; with - before them, all but these',
    example: '-swap,-logs',
    type: list(parseCheck),
  }),
};

export type VerifySettings = Values<typeof verifySettings>;

/** Whether a check is one of those that CHECKS selects. */
export function selects(checks: VerifySettings['CHECKS'], check: string): boolean {
  if (!checks) return true;
  const named = checks.filter(({ without }) => !without);
  const chosen = named.length === 0 || named.some((one) => one.check === check);
  return chosen && !checks.some((one) => one.without && one.check === check);
}
