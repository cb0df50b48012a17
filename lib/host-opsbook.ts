import { type Command, CommandFailure, cmd, quote } from './command.ts';
import { type ComposeSettings, envFileOf } from './compose.ts';
import { EXIT, Failure } from './failure.ts';
import { setting } from './settings.ts';

/** Where a host's own opsbook is, which set-up installed for cron. */
export const opsbookSettings = {
  OPSBOOK_DIR: setting('OPSBOOK_DIR', {
    about: 'where opsbook is on a host',
    example: '/opt/opsbook',
    default: '/opt/opsbook',
    type: (z) => z.string().regex(/^(\/[\w.-]+)+$/, 'must be an absolute path of letters, digits and ._-'),
  }),
};

/**
 * Where a host's own runs, those of its cron entries too, have their settings from: the app's .env, and SECRETS_FILE over
 * it. Of two files either may be missing, or not be there yet: `choose` is shell that puts those that are there before
 * `"$@"`, and the last one, which opsbook then names, where none is.
 */
export function hostSettings(
  appDir: string,
  settings: ComposeSettings,
): { choose: string; flags: readonly string[] } {
  const file = envFileOf(appDir, settings);
  if (!file) return { choose: '', flags: ['--env-file', `${appDir}/.env`] };
  const [first, last] = [quote(`${appDir}/.env`), quote(file)];
  const choose = [
    `[ -e ${first} ] && [ ! -e ${last} ] || set -- --env-file ${last} "$@"`,
    `[ ! -e ${first} ] || set -- --env-file ${first} "$@"`,
  ];
  return { choose: `${choose.join('; ')}; `, flags: [] };
}

const ABSENT = 69;

/**
 * Runs the script $5 of the opsbook in $1 as cron does: as the owner of the app's directory $2, whose env file is $3, with
 * the settings that the shell $4 chooses, and with nothing of the environment that we come with.
 */
const RUN = `dir=$1 app=$2 secrets=$3 choose=$4 script=$5; shift 5
[ -x "$dir/node_modules/.bin/tsx" ] && [ -e "$dir/scripts/$script.ts" ] || { echo "there is no scripts/$script.ts in $dir" >&2; exit ${ABSENT}; }
owner=$(stat -c %U "$app") && home=$(getent passwd "$owner" | cut -d : -f 6) || exit 1
set -- env -i PATH="$dir/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME="$home" LOGNAME="$owner" \\
  TARGET=local SECRETS_FILE="$secrets" sh -c "$choose"'exec tsx "$0" "$@"' "$dir/scripts/$script.ts" "$@"
cd "$app" || exit 1
[ "$(id -u)" = "$(id -u "$owner")" ] && exec "$@"
[ "$(id -u)" = 0 ] && exec runuser -u "$owner" -- "$@"
exec sudo -n -u "$owner" -- "$@"`;

/** Where opsbook, the app and its env file are on a host. */
export interface Places {
  OPSBOOK_DIR: string;
  APP_DIR: string;
  SECRETS_FILE: string;
}

/** A script of a host's own opsbook, as `area/name`, with that host's settings. */
export function hostOpsbook(
  { OPSBOOK_DIR, APP_DIR, SECRETS_FILE }: Places,
  script: string,
  words: readonly string[],
): Command {
  const { choose, flags } = hostSettings(APP_DIR, { SECRETS_FILE });
  const places = [OPSBOOK_DIR, APP_DIR, SECRETS_FILE, choose];
  return cmd`sh -c ${RUN} opsbook ${places} ${script} ${flags} ${words}`;
}

/** How one types it: the same run, from here. */
export function typedHostOpsbook(
  shared: readonly string[],
  script: string,
  words: readonly string[],
): string {
  const line = ['npx', 'tsx', 'scripts/server/remote.ts', ...shared, 'opsbook', script, ...words];
  return line.map(quote).join(' ');
}

/** The failure of a run of opsbook by another: with its exit code, in its own words. */
export function opsbookFailure(error: unknown, prefix: string, next: string): unknown {
  if (!(error instanceof CommandFailure)) return error;
  const { code, words } = error;
  if (code === ABSENT)
    return new Failure(`${prefix}${words}`, {
      next: 'install it there: setup-ec2 or setup-droplet does; or set OPSBOOK_DIR to where it is',
      cause: error,
    });
  const exit = Object.values(EXIT).find((one) => one === code && one !== EXIT.done) ?? EXIT.failed;
  const [said = '', then] = words.replace(/^.*? error: /, '').split('. Next: ');
  return new Failure(`${prefix}${said}`, { exit, next: then ?? next, cause: error });
}

const SHARED = /^--(env-file|target)(=|$)/;

/** The words of a command line, apart: the flags by which another script finds the same app, and the others. */
export function splitShared(argv: readonly string[]): { shared: string[]; own: string[] } {
  const shared: string[] = [];
  const own: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    const value = argv[i + 1];
    if (!SHARED.test(word)) own.push(word);
    else if (word.includes('=') || value === undefined) shared.push(word);
    else {
      shared.push(word, value);
      i++;
    }
  }
  return { shared, own };
}
