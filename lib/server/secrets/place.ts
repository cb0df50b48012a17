import { posix } from 'node:path';
import { parseEnv } from '../../env-file.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { hostFileMode, readHostFile } from '../../host-files.ts';
import type { Values as SettingValues } from '../../settings.ts';
import type { secretsSettings } from './settings.ts';
import { parseTemplate, type Template } from './template.ts';

export type SecretsSettings = SettingValues<typeof secretsSettings> & {
  APP_DIR: string;
  AWS_REGION?: string | undefined;
};

/** The env file of an app on its host, as it is now. */
export interface EnvFile {
  readonly path: string;
  readonly text: string | undefined;
  readonly entries: ReadonlyMap<string, string>;
  /** Others than its owner may read it. */
  readonly open: boolean;
}

/** @throws Failure when it cannot be read or understood */
export async function readEnvFile(host: Host, { APP_DIR, SECRETS_FILE }: SecretsSettings): Promise<EnvFile> {
  const path = posix.resolve(APP_DIR, SECRETS_FILE);
  const text = await readHostFile(host, path);
  const mode = text === undefined ? 0o600 : await hostFileMode(host, path);
  return { path, text, entries: understood(path, text ?? ''), open: (mode & 0o077) !== 0 };
}

function understood(path: string, text: string): Map<string, string> {
  try {
    return new Map(Object.entries(parseEnv(text)));
  } catch (error) {
    throw new Failure(`${path}: ${(error as Error).message}`, {
      next: 'correct the line, or move the file away: what only it has would be lost',
    });
  }
}

const USUAL_TEMPLATE = '.env.template';

/** The app's template; undefined where it has none. @throws Failure when the one that is named is not there */
export async function readTemplate(
  host: Host,
  { APP_DIR, SECRETS_TEMPLATE }: SecretsSettings,
): Promise<Template | undefined> {
  const path = posix.resolve(APP_DIR, SECRETS_TEMPLATE ?? USUAL_TEMPLATE);
  const text = await readHostFile(host, path);
  if (text !== undefined) return parseTemplate(text, path);
  if (SECRETS_TEMPLATE === undefined) return undefined;
  throw new Failure(`SECRETS_TEMPLATE=${SECRETS_TEMPLATE}: ${path} is not there`, {
    exit: EXIT.usage,
    next: 'correct it, or APP_DIR',
  });
}

/** The env file, which has to be there. @throws Failure when it is not */
export async function needFile(host: Host, settings: SecretsSettings): Promise<EnvFile> {
  const file = await readEnvFile(host, settings);
  if (file.text !== undefined) return file;
  throw new Failure(`${file.path} is not there`, { exit: EXIT.usage, next: 'correct its name, or APP_DIR' });
}

/** The template, which has to be there. @throws Failure when it is not */
export async function needTemplate(host: Host, settings: SecretsSettings): Promise<Template> {
  const template = await readTemplate(host, settings);
  if (template) return template;
  throw new Failure(`${posix.resolve(settings.APP_DIR, USUAL_TEMPLATE)} is not there`, {
    exit: EXIT.usage,
    next: 'write one (docs/secrets.md), or name it: SECRETS_TEMPLATE',
  });
}
