import { composeSettings } from '../app.ts';
import { opsbookSettings } from '../host-opsbook.ts';
import { list, optional, optionalSetting, setting } from '../settings.ts';
import { targetSettings } from '../target.ts';
import { certificateSettings } from './certificate-settings.ts';

/** Five fields; names and ranges are cron's business, a line break or a sixth word would make another entry of it. */
const FIELDS = /^[\w*/,-]+( [\w*/,-]+){4}$/;

const schedule = (name: string, about: string, example: string) =>
  optionalSetting(name, {
    about: `when cron ${about}: five fields, in UTC`,
    example,
    type: (z) => z.string().regex(FIELDS, 'is not five fields of cron, such as 0 3 * * *'),
  });

/** What a host is made ready for. */
export const setupSettings = {
  ...targetSettings,
  ...composeSettings,
  // Not every app has one.
  DOMAIN: optional(certificateSettings.DOMAIN),
  ACME_WEBROOT: certificateSettings.ACME_WEBROOT,
  PROXY_SERVICE: certificateSettings.PROXY_SERVICE,
  APP_USER: optionalSetting('APP_USER', {
    about:
      "the user who owns the app and its cron entries; the image's own on EC2 and deploy on a droplet, unless told",
    example: 'ec2-user',
    type: (z) => z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'is not the name of a user'),
  }),
  APP_DIRECTORIES: optionalSetting('APP_DIRECTORIES', {
    about: 'directories that the app writes to, separated by commas, relative ones below APP_DIR',
    example: 'uploads',
    type: list((raw) => raw),
  }),
  APP_REPOSITORY: optionalSetting('APP_REPOSITORY', {
    about: "the app's git repository, cloned to APP_DIR where no clone is",
    example: 'https://github.com/example/bloaty.git',
    type: (z) => z.string(),
  }),
  OPSBOOK_REPOSITORY: optionalSetting('OPSBOOK_REPOSITORY', {
    about: 'the git repository from which a host fetches opsbook for its cron entries',
    example: 'https://github.com/example/opsbook.git',
    type: (z) => z.string(),
  }),
  ...opsbookSettings,
  BACKUP_SCHEDULE: schedule('BACKUP_SCHEDULE', 'takes a backup', '0 3 * * *'),
  PRUNE_SCHEDULE: schedule('PRUNE_SCHEDULE', 'prunes the backups, where the host may delete', '0 5 * * 0'),
  DRILL_SCHEDULE: schedule('DRILL_SCHEDULE', 'drills a restore, where the host may read', '0 6 * * 0'),
  VERIFY_SCHEDULE: schedule('VERIFY_SCHEDULE', 'checks the host and the app', '30 7 * * *'),
  RENEW_SCHEDULE: setting('RENEW_SCHEDULE', {
    about: 'when cron renews the certificate, where DOMAIN is set and the proxy is not a Caddy',
    example: '17 0,12 * * *',
    default: '17 0,12 * * *',
    type: (z) => z.string().regex(FIELDS, 'is not five fields of cron, such as 17 0,12 * * *'),
  }),
};
