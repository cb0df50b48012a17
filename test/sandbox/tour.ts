import { duration, table } from '../../lib/format.ts';
import { exports } from './env.ts';
import { type Fingerprint, fingerprint, sameness } from './tour/fingerprint.ts';
import { loseEverything } from './tour/loss.ts';
import { mayRead, type Scripts, scripts } from './tour/scripts.ts';
import { traffic } from './tour/traffic.ts';
import { up } from './world.ts';

/** `npm run tour`: an app loses all that it has and gets it back, told for somebody who sees opsbook first. */

const steps: Array<{ what: string; ms: number; proven: string }> = [];

function tell(text: string): void {
  process.stdout.write(`\n${text}\n`);
}

async function step(what: string, act: () => Promise<string>): Promise<void> {
  const started = performance.now();
  const proven = await act();
  steps.push({ what, ms: performance.now() - started, proven });
}

async function recovery(app: Scripts, before: Fingerprint): Promise<void> {
  tell('4. Somebody drops the database and deletes the uploads.');
  await step('disaster', () => loseEverything(app));

  tell(
    'The host cannot even read its own backups; the operator, who can, restores. The backup comes back beside\n' +
      'what is there, is compared with what was saved, and only then takes its place.',
  );
  await step('restore', async () => {
    await app.run('restore', ['latest', '--yes'], 'reader');
    const same = sameness(before, await fingerprint(app));
    const { status } = await fetch(app.env['HEALTH_URL'] ?? '');
    if (status !== 200) throw new Error(`the app still answers ${status}`);
    return `${same}; the app answers ${status}`;
  });

  tell('5. And so that nobody has to hope for the next time: a drill, which cron runs every week.');
  await step('drill', async () => {
    await app.run('drill', [], 'reader');
    return 'a throw-away restore equals the manifest';
  });
}

async function tour(): Promise<void> {
  tell(
    'opsbook, the tour. First a sandbox: a host with its own Docker engine, an app on it (nginx, a web app,\n' +
      'PostgreSQL, Redis), and an AWS emulator that enforces policies. Once it is built it comes up in seconds.',
  );
  const world = await up();
  const app = scripts(exports(world));

  tell(`1. People use the app at ${app.env['SANDBOX_URL']}: they write entries and upload pictures.`);
  await step('traffic', () => traffic(app.env['SANDBOX_URL'] ?? ''));

  tell('2. The nightly backup. Its credentials may put objects into the bucket and list it, no more.');
  await step('backup', async () => {
    await app.run('backup', []);
    return 'database and uploads are in S3';
  });

  tell('3. The same credentials try to read what they have just written.');
  await step('a thief on the host', async () => {
    if (await mayRead(app)) throw new Error('the write-only role could read a backup');
    return 'refused: 403 AccessDenied';
  });

  await recovery(app, await fingerprint(app));
  summary();
}

function summary(): void {
  const rows = steps.map(({ what, ms, proven }) => [what, duration(ms), proven]);
  tell(`What was proven:\n\n${table([['step', 'took', 'proven'], ...rows], [1])}`);
  tell(
    'The sandbox stays up. Three commands to try next, after  eval "$(npm run --silent sandbox)" :\n\n' +
      '  npx tsx scripts/backup/list.ts --max-age 26h    # is the newest backup fresh? exit 3 when not\n' +
      '  npx tsx scripts/backup/backup.ts --dry-run      # every command, none of them run\n' +
      '  npx tsx scripts/backup/backup.ts                # again: what has not changed costs nothing\n\n' +
      'and to end it:  npm run sandbox -- down',
  );
}

tour().catch((error: unknown) => {
  process.stderr.write(
    `tour: ${(error as Error).message}. The sandbox stays up: npm run sandbox -- down ends it\n`,
  );
  process.exitCode = 1;
});
