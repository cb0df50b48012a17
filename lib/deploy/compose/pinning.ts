import { show } from '../../command.ts';
import { composeCommand, envFileOf, projectDirectory } from '../../compose.ts';
import { withEntry } from '../../env-file.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { editHostFile } from '../../host-files.ts';
import { runForSecret } from '../../secret-output.ts';
import type { ComposeApp } from './app.ts';

/**
 * Whether a `docker compose up` in the app's directory, at boot or by hand, runs what was deployed, although nothing but
 * the env file tells it so.
 */
export async function isPinned({ host, dir, settings: { SECRETS_FILE } }: ComposeApp): Promise<boolean> {
  const { argv } = composeCommand(dir, { SECRETS_FILE }, ['config', '--format', 'json']);
  const text = await runForSecret(host, { argv: ['sh', '-c', PROBE, 'probe', ...argv], cwd: dir });
  return text.includes('"x-opsbook"');
}

const PROBE = 'unset COMPOSE_FILE; "$@" 2>/dev/null || true';

/**
 * For the unit that starts the app at boot: it has COMPOSE_FILE and the env file as they were at set-up. Where
 * COMPOSE_FILE in the environment would keep Compose from reading the .env beside it, that is named as well.
 */
export async function pinBoot({ host, dir, files, composeFile, settings }: ComposeApp): Promise<void> {
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
  const file = envFileOf(dir, settings);
  const project = projectDirectory(dir, settings);
  // The later one wins.
  const all = file ? [file] : project === dir ? [] : await existing(host, [`${project}/.env`, `${dir}/.env`]);
  const lines = [
    `COMPOSE_FILE=${quoted(composeFile)}\n`,
    ...(all.length > 0 ? [`COMPOSE_ENV_FILES=${quoted(all.join(','))}\n`] : []),
  ];
  if ((await files.read('deployed.env')) !== lines.join(''))
    await files.write('deployed.env', lines.join(''));
}

async function existing(host: Host, paths: readonly string[]): Promise<string[]> {
  const look = 'for file; do [ ! -e "$file" ] || printf "%s\\n" "$file"; done';
  return (await host.run({ argv: ['sh', '-c', look, 'look', ...paths] })).split('\n').filter(Boolean);
}

/**
 * Lets Compose itself read the pinned version, by COMPOSE_FILE in the app's env file.
 * @throws Failure when it does not read it even so
 */
export async function pin(app: ComposeApp): Promise<void> {
  const { host, dir, envFile, composeFile } = app;
  await editHostFile(host, envFile, (text) => withEntry(text ?? '', 'COMPOSE_FILE', composeFile));
  if (await isPinned(app)) return;
  throw new Failure(
    `docker compose in ${dir} does not read .opsbook/deployed.yml, though ${envFile} says so`,
    {
      next: `see what it says: cd ${dir} && ${show({ argv: composeCommand(dir, app.settings, ['config', '--quiet']).argv })}`,
    },
  );
}
