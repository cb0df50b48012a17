import { isIP } from 'node:net';
import { composeSettings, targetSettings } from '../app.ts';
import { parseAge } from '../format.ts';
import { list, optional, optionalSetting, parsed, setting, type Values } from '../settings.ts';
import { healthUrlSettings } from '../web.ts';
import { certificateSettings } from './certificate-settings.ts';
import { secretsSettings } from './secret-settings.ts';
import { setupSettings } from './setup-settings.ts';

/** What is checked: from outside, then on each host, in the order in which it is reported. */
const NAMES = [
  ...['dns', 'tls', 'redirect', 'health', 'version', 'backup'],
  ...['containers', 'restarts', 'logs', 'disk', 'inodes', 'memory', 'swap', 'clock', 'reboot'],
  ...['cron', 'ports', 'secrets'],
];

function parseCheck(raw: string): { check: string; without: boolean } {
  const check = raw.replace(/^-/, '');
  if (!NAMES.includes(check)) throw new Error(`there is no check "${check}"; there are ${NAMES.join(', ')}`);
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
    about: 'the checks that verify runs, separated by commas; with - in front of each, all but these',
    example: '-swap,-logs',
    type: list(parseCheck),
  }),
};

export type VerifySettings = Values<typeof verifySettings>;

/** Whether a check is one of those that CHECKS selects. */
export function selects(checks: VerifySettings['CHECKS'], check: string): boolean {
  const own = checks?.filter((one) => one.check === check) ?? [];
  if (own.length > 0) return own.every(({ without }) => !without);
  return checks?.every(({ without }) => without) ?? true;
}
