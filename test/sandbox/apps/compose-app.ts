import { chmod, cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { appDir, giveTo, type Host, type HostSpec } from '../hosts/host.ts';
import type { ImageName } from '../images/catalogue.ts';
import { composeUp } from '../machine/compose.ts';
import type { Engine } from '../machine/engine.ts';
import { directory, sandboxDir } from '../names.ts';
import { step } from '../progress.ts';
import { readState, updateState } from '../state.ts';
import { answers, waitFor } from '../wait.ts';

/** An app that runs by Docker Compose on a host of the sandbox. */
export interface ComposeApp {
  name: 'bloaty' | 'chitram';
  host: HostSpec;
  /** what the host's engine has from the start: the names of the compose file, and our images */
  images: Record<string, ImageName>;
  /** directories that exist beside the compose file */
  directories: string[];
  /** files of test/sandbox/apps/<name> that are put into the app's directory */
  files: string[];
  /** new random settings, as they go into the app's .env */
  settings: () => Record<string, string>;
}

export interface AppWorld {
  host: Host;
  dir: string;
  composeFile: string;
  url: string;
  /** the app's .env */
  settings: Record<string, string>;
}

/** Single quotes: neither `$` nor `#` means anything to Compose in them. None of our values has a quote. */
const envFile = (settings: Record<string, string>): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}='${value}'\n`)
    .join('');

async function install(app: ComposeApp): Promise<void> {
  const dir = directory(appDir(app.host.name, app.name));
  const settings = readState().apps?.[app.name] ?? app.settings();
  updateState({ apps: { ...readState().apps, [app.name]: settings } });
  for (const file of app.files) await cp(join(sandboxDir, 'apps', app.name, file), join(dir, file));
  for (const name of app.directories) directory(dir, name);
  await writeFile(join(dir, '.env'), envFile(settings), { mode: 0o600 });
  await chmod(join(dir, '.env'), 0o600);
  for (const path of ['', '.env', ...app.files, ...app.directories])
    await giveTo(app.host.user, join(dir, path));
}

/** Puts the app on a new host, and starts those of its services that do not run. */
export async function ensureApp(engine: Engine, app: ComposeApp, host: Host, isNew: boolean): Promise<void> {
  if (isNew) await install(app);
  const dir = appDir(host.name, app.name);
  await step(`starting ${app.name}`, async () => {
    await composeUp(engine, { host: host.dockerHost, ours: false }, dir);
    const url = `http://127.0.0.1:${host.ports[80]}/health`;
    await waitFor(`${app.name} to be healthy (${url})`, 30, () => answers(url));
  });
}

export function describeApp(app: ComposeApp, host: Host): AppWorld {
  const dir = appDir(host.name, app.name);
  return {
    host,
    dir,
    composeFile: join(dir, 'docker-compose.yml'),
    url: `http://127.0.0.1:${host.ports[80]}`,
    settings: readState().apps?.[app.name] ?? {},
  };
}
