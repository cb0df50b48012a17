import { EXIT, Failure } from './failure.ts';
import type { Command, Host } from './host.ts';
import { optionalSetting, type Values } from './settings.ts';

/** The settings by which Compose finds an app; the names are Compose's own. */
export const composeSettings = {
  COMPOSE_FILE: optionalSetting('COMPOSE_FILE', {
    about: "the app's compose files, separated by colons, relative to APP_DIR",
    example: 'docker-compose.yml:deploy/docker-compose.prod.yml',
    type: (z) => z.string(),
  }),
  COMPOSE_PROJECT_NAME: optionalSetting('COMPOSE_PROJECT_NAME', {
    about: "Compose's name for the app; the directory's name unless told",
    example: 'bloaty',
    type: (z) => z.string(),
  }),
};

/** A compose app on a host. */
export interface Compose {
  /** `docker compose …`, run where the app is. */
  command(...args: string[]): Command;
  /** The container of a service, or undefined when none runs. */
  container(service: string): Promise<string | undefined>;
}

/** What `docker compose ps --format json` tells of a container. */
interface Listed {
  Name: string;
  State: string;
}

export function compose(host: Host, appDir: string, settings: Values<typeof composeSettings>): Compose {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(settings))
    if (name in composeSettings && value) env[name] = value;
  const command = (...args: string[]): Command => ({
    argv: ['docker', 'compose', ...args],
    env,
    cwd: appDir,
  });
  return {
    command,
    async container(service) {
      try {
        const text = await host.run(command('ps', '--all', '--format', 'json', service));
        return parseListing(text).find((c) => c.State === 'running')?.Name;
      } catch (error) {
        await refuseUnknown(host, command, service);
        throw error;
      }
    },
  };
}

/** @throws Failure when it is the name of the service that Compose does not know */
async function refuseUnknown(host: Host, command: Compose['command'], service: string): Promise<void> {
  const services = (await host.run(command('config', '--services'))).split('\n').filter(Boolean);
  if (services.includes(service)) return;
  throw new Failure(`compose has no service ${service}; it has ${services.sort().join(', ')}`, {
    exit: EXIT.usage,
    next: 'correct the name, or COMPOSE_FILE and APP_DIR',
  });
}

/** Compose before 2.21 wrote one array, later ones write an object a line. */
export function parseListing(text: string): Listed[] {
  const trimmed = text.trim();
  if (trimmed === '') return [];
  if (trimmed.startsWith('[')) return JSON.parse(trimmed) as Listed[];
  return trimmed.split('\n').map((line) => JSON.parse(line) as Listed);
}
