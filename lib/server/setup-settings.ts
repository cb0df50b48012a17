import { composeSettings, targetSettings } from '../app.ts';
import { option } from '../definition.ts';
import { opsbookSettings } from '../host-opsbook.ts';
import { list, optional, optionalSetting, setting } from '../settings.ts';
import { certificateSettings } from './certificate-settings.ts';

/** Five fields. cron checks names and ranges; a line break or a sixth word would make another entry of it. */
const FIELDS = /^[\w*/,-]+( [\w*/,-]+){4}$/;

const schedule = (name: string, about: string, example: string) =>
  optionalSetting(name, {
    about: `when cron ${about}: five fields, in UTC`,
    example,
    type: (z) => z.string().regex(FIELDS, 'is not five fields of cron, such as 0 3 * * *'),
  });

/** What a host is set up for. */
export const setupSettings = {
  ...targetSettings,
  ...composeSettings,
  // Not every app has one.
  DOMAIN: optional(certificateSettings.DOMAIN),
  ACME_WEBROOT: certificateSettings.ACME_WEBROOT,
  PROXY_SERVICE: certificateSettings.PROXY_SERVICE,
  APP_USER: optionalSetting('APP_USER', {
    about:
      "the user who owns the app and its cron entries; default: the image's own on EC2, deploy on a droplet",
    example: 'ec2-user',
    type: (z) => z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'is not the name of a user'),
  }),
  APP_DIRECTORIES: optionalSetting('APP_DIRECTORIES', {
    about: 'directories that the app writes to, separated by commas, absolute or relative to APP_DIR',
    example: 'uploads',
    type: list((raw) => raw),
  }),
  APP_REPOSITORY: optionalSetting('APP_REPOSITORY', {
    about: "the app's git repository, cloned to APP_DIR if that is not a clone yet",
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

/** What differs between the systems that can be set up. */
export interface System {
  /** `ID-VERSION_ID` of its /etc/os-release; as `--user-data` names it. */
  name: string;
  packages: 'apt' | 'dnf';
  /** The user of the image on EC2. */
  imageUser: string;
  /** The packages of Docker, with those of Compose v2 and buildx where the distribution has them. */
  docker: readonly string[];
  /** Compose and buildx come as pinned binaries. */
  pinned: boolean;
}

const UBUNTU: Omit<System, 'name'> = {
  ...{ packages: 'apt', imageUser: 'ubuntu', pinned: false },
  docker: ['docker.io', 'docker-compose-v2', 'docker-buildx', 'iptables'],
};

const SYSTEMS: readonly System[] = [
  { name: 'amzn-2023', packages: 'dnf', imageUser: 'ec2-user', docker: ['docker'], pinned: true },
  { name: 'ubuntu-22.04', ...UBUNTU },
  { name: 'ubuntu-24.04', ...UBUNTU },
  // Its docker-compose is v1, and it has no buildx.
  { name: 'debian-12', packages: 'apt', imageUser: 'admin', docker: ['docker.io', 'iptables'], pinned: true },
  {
    ...{ name: 'debian-13', packages: 'apt', imageUser: 'admin', pinned: false },
    docker: ['docker.io', 'docker-cli', 'docker-compose', 'docker-buildx', 'iptables'],
  },
];

export const systemNames = SYSTEMS.map(({ name }) => name);

/** The system of that name, if it is one that can be set up. */
export const systemNamed = (name: string): System | undefined => SYSTEMS.find((one) => one.name === name);

export const userDataFlag = option(
  '--user-data <system>',
  `print a script that does it all at first boot, without contacting a host; for ${systemNames.join(', ')}`,
  (raw) => {
    const system = systemNamed(raw);
    if (!system) throw new Error(`is not one of ${systemNames.join(', ')}`);
    return system;
  },
);
