import { Failure } from '../../failure.ts';
import { editHostFile } from '../../host-files.ts';
import type { ComposeApp } from './app.ts';

const PROBE = 'unset COMPOSE_FILE; docker compose config --format json 2>/dev/null || true';

/** Whether a plain `docker compose up` in the app's directory, at boot or by hand, runs what was deployed. */
export async function isPinned(app: ComposeApp): Promise<boolean> {
  const text = await app.host.run({ argv: ['sh', '-c', PROBE], cwd: app.dir });
  return text.includes('"x-opsbook"');
}

/** Text of an env file in which COMPOSE_FILE is this; all other lines are as they were. */
export function withComposeFile(text: string, value: string): string {
  const line = `COMPOSE_FILE=${value}`;
  const lines = text.split('\n');
  const at = lines.findLastIndex((one) => /^\s*(export\s+)?COMPOSE_FILE\s*=/.test(one));
  if (at >= 0) return lines.with(at, line).join('\n');
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`;
}

/** For the unit that starts the app at boot: it knows no `.env`, and has COMPOSE_FILE as it was at set-up. */
export async function pinBoot({ files, composeFile }: ComposeApp): Promise<void> {
  const line = `COMPOSE_FILE="${composeFile.replaceAll(/["\\]/g, '\\$&')}"\n`;
  if ((await files.read('deployed.env')) !== line) await files.write('deployed.env', line);
}

/**
 * Lets Compose itself read the pinned version, by COMPOSE_FILE in the `.env` of the app's directory.
 * @throws Failure when it does not read it even so
 */
export async function pin(app: ComposeApp): Promise<void> {
  const file = `${app.dir}/.env`;
  await editHostFile(app.host, file, (text) => withComposeFile(text ?? '', app.composeFile));
  if (await isPinned(app)) return;
  throw new Failure(
    `docker compose in ${app.dir} does not read .opsbook/deployed.yml, though ${file} says so`,
    {
      next: `see what it says: cd ${app.dir} && docker compose config --quiet`,
    },
  );
}
