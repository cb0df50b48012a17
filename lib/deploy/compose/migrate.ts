import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import { duration } from '../../format.ts';
import { redact } from '../../redact.ts';
import type { Release } from '../strategy.ts';
import type { ComposeApp } from './app.ts';
import { removeCommand } from './containers.ts';
import { pinsFile } from './pins.ts';

/** What is to be run, and where. */
export interface Migration {
  service: string;
  command: string;
  timeoutMs: number;
}

const containerName = (app: ComposeApp, { version }: Release): string =>
  `${app.dir.split('/').at(-1)}-migrate-${version.replaceAll(/[^\w.-]/g, '-')}`;

/** A container of the new image, beside what runs: with the app's settings, network and volumes, without its entrypoint. */
export const migrateCommand = (app: ComposeApp, release: Release, { service, command }: Migration): Command =>
  app.command(
    ...(['next.yml', 'run', '--rm', '--no-deps', '--no-TTY', '--name', containerName(app, release)] as const),
    ...['--entrypoint', 'sh', service, '-c', command],
  );

/**
 * Migrates with the new image, while the old version runs; every line that it writes is told.
 * @throws Failure when it fails, or does not end in time: then it was ended
 */
export async function migrate(
  app: ComposeApp,
  release: Release,
  migration: Migration,
  say: (line: string) => void,
): Promise<void> {
  const { host } = app;
  const { service, command, timeoutMs } = migration;
  await app.files.write('next.yml', pinsFile(release));
  const { services } = await app.model('next.yml');
  const needed = Object.keys(services[service]?.depends_on ?? {});
  if (needed.length > 0)
    await host.run(app.command('next.yml', 'up', '--detach', '--no-recreate', ...needed));
  const name = containerName(app, release);
  // That of a run which was cut off goes on by itself, and two must not run at once.
  await host.run(removeCommand([name]));
  const running = host.start(migrateCommand(app, release, migration));
  running.stdin.end();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    running.kill();
  }, timeoutMs);
  try {
    await Promise.all([tell(running.stdout, say), tell(running.stderr, say), running.done]);
  } catch (error) {
    // The command line's end is not the container's.
    await host.uninterrupted.run(removeCommand([name]));
    if (late)
      throw failed(
        `"${command}" did not end within ${duration(timeoutMs)} (MIGRATE_TIMEOUT), and was ended`,
        error,
      );
    if (error instanceof CommandFailure)
      throw failed(`"${command}" exited with ${error.code}: ${error.words}`, error);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

const failed = (what: string, cause: unknown) =>
  new Failure(`the migration ${what}`, {
    next: 'see how far it came: what it did is not undone, but what runs was not changed',
    cause,
  });

async function tell(stream: Readable, say: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream })) if (line.trim() !== '') say(redact(line));
}
