import { show } from '../../command.ts';
import { sentence } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { Report } from '../../report.ts';
import { runningServices, secretsCompose, staleNames } from './containers.ts';
import type { SecretsSettings } from './place.ts';

/** The command that gives services what is in the env file now; `restart` would not. */
export function recreateCommand(host: Host, settings: SecretsSettings, services: readonly string[]): string {
  const { argv, env = {} } = secretsCompose(host, settings).command('up', '--detach', ...services);
  return show({ argv, env });
}

/** Says which running services still have what the env file said before, and returns them. */
export async function tellStale(host: Host, settings: SecretsSettings, report: Report): Promise<string[]> {
  try {
    const stale = staleNames(await runningServices(host, settings));
    if (stale.length === 0) return [];
    const next = `cd ${settings.APP_DIR} && ${recreateCommand(host, settings, stale)}`;
    report.warn(`${stale.join(', ')} still run with what the file said before. Next: ${next}`);
    return stale;
  } catch (error) {
    // The file is written all the same.
    report.warn(`which services have to be recreated is not known: ${sentence(error)}`);
    return [];
  }
}
