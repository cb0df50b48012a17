import { cmd } from '../command.ts';
import { composeCommand, envFileOf, projectDirectory } from '../compose.ts';
import { withEntry } from '../env-file.ts';
import { Failure } from '../failure.ts';
import { editHostFile, runForSecret } from '../host-files.ts';
import { type ComposeApp, existing } from './compose-app.ts';
import type { Pin, Release } from './deployment.ts';

const HEAD = `# Written by opsbook: the version that runs here. It belongs into COMPOSE_FILE, after the app's own files, so that
# every docker compose command, also the one at boot, runs this version. Not to be edited: deploy, or roll back.
`;

/** The compose file that pins a release: JSON is YAML, and needs no rules of quoting. */
export function pinsFile({ version, commit, images }: Release): string {
  const of = <T>(pick: (pin: Pin) => T) =>
    Object.fromEntries(Object.entries(images).map(([service, pin]) => [service, pick(pin)]));
  const services = of(({ reference }) => ({ image: reference }));
  const known = { version, commit, ids: of(({ id }) => id) };
  return `${HEAD}${JSON.stringify({ services, 'x-opsbook': known }, null, 2)}\n`;
}

/** What {@link pinsFile} wrote; undefined for a file that is empty, or not ours. */
export function parsePins(text: string): Release | undefined {
  const start = text.indexOf('{');
  if (start < 0) return undefined;
  const { services, 'x-opsbook': known } = JSON.parse(text.slice(start)) as {
    services: Record<string, { image: string }>;
    'x-opsbook'?: { version: string; commit?: string; ids: Record<string, string> };
  };
  if (!known) return undefined;
  const { version, commit, ids } = known;
  const images = Object.entries(services).map(([service, { image }]): [string, Pin] => [
    service,
    { reference: image, id: ids[service] ?? '' },
  ]);
  return { version, ...(commit === undefined ? {} : { commit }), images: Object.fromEntries(images) };
}

/** Before the first deployment: from here on a reboot starts what runs now, whatever the compose files say. */
export async function pinFirst(app: ComposeApp, release: Release): Promise<void> {
  if (await isPinned(app)) return;
  if ((await app.files.read('deployed.yml')) === '') await app.files.write('deployed.yml', pinsFile(release));
  await pin(app);
  await pinBoot(app);
}

/** After a switch: every `docker compose up`, by hand or at boot, runs what was deployed. */
export async function keepPinned(app: ComposeApp): Promise<void> {
  if (!(await isPinned(app))) await pin(app);
  await pinBoot(app);
}

/**
 * Whether a `docker compose up` in the app's directory, at boot or by hand, runs what was deployed, although nothing but
 * the env file tells it so.
 */
async function isPinned({ host, dir, settings: { SECRETS_FILE } }: ComposeApp): Promise<boolean> {
  const config = composeCommand(dir, { SECRETS_FILE }, ['config', '--format', 'json']);
  const probe = 'unset COMPOSE_FILE; "$@" 2>/dev/null || true';
  return (await runForSecret(host, cmd`sh -c ${probe} probe ${config}`)).includes('"x-opsbook"');
}

/**
 * Lets Compose itself read the pinned version, by COMPOSE_FILE in the app's env file.
 * @throws Failure when it does not read it even so
 */
async function pin(app: ComposeApp): Promise<void> {
  const { host, dir, envFile, composeFile } = app;
  await editHostFile(host, envFile, (text) => withEntry(text ?? '', 'COMPOSE_FILE', composeFile));
  if (await isPinned(app)) return;
  throw new Failure(
    `docker compose in ${dir} does not read .opsbook/deployed.yml, though ${envFile} says so`,
    {
      next: `read what it says: cd ${dir} && ${composeCommand(dir, app.settings, ['config', '--quiet']).text}`,
    },
  );
}

/**
 * For the unit that starts the app at boot: it has COMPOSE_FILE and the env file as they were at set-up. Where
 * COMPOSE_FILE in the environment would keep Compose from reading the .env beside it, that is named as well.
 */
async function pinBoot({ host, dir, files, composeFile, settings }: ComposeApp): Promise<void> {
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
  const file = envFileOf(dir, settings);
  const project = projectDirectory(dir, settings);
  // The later one wins.
  const both = [`${project}/.env`, `${dir}/.env`];
  const all = file ? [file] : project === dir ? [] : await existing(host, both, dir);
  const lines = [
    `COMPOSE_FILE=${quoted(composeFile)}\n`,
    ...(all.length > 0 ? [`COMPOSE_ENV_FILES=${quoted(all.join(','))}\n`] : []),
  ].join('');
  if ((await files.read('deployed.env')) !== lines) await files.write('deployed.env', lines);
}
