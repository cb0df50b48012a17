import { exports } from '../env.ts';
import { up } from '../world.ts';
import { mayRead } from './credentials.ts';
import { type Fingerprint, fingerprint, sameness } from './fingerprint.ts';
import { loseEverything } from './loss.ts';
import { step, summary, tell } from './narration.ts';
import { type Scripts, scripts } from './scripts.ts';
import { traffic } from './traffic.ts';

async function bringBack(app: Scripts, before: Fingerprint): Promise<void> {
  tell('4. Somebody drops the database and deletes the uploads.');
  await step('disaster', () => loseEverything(app));

  tell(
    'The host cannot even read its own backups; the operator, who can, restores. The backup comes back beside\n' +
      'what is there, is compared with what was saved, and only then takes its place.',
  );
  await step('restore', async () => {
    await app.run('backup/restore', ['latest', '--yes'], { as: 'READER' });
    const same = sameness(before, await fingerprint(app));
    const { status } = await fetch(app.env['HEALTH_URL'] ?? '');
    if (status !== 200) throw new Error(`the app still answers ${status}`);
    return `${same}; the app answers ${status}`;
  });

  tell('5. And so that nobody has to hope for the next time: a drill, which cron runs every week.');
  await step('drill', async () => {
    await app.run('backup/drill', [], { as: 'READER' });
    return 'a throw-away restore equals the manifest';
  });
}

/** `npm run tour`: an app loses all that it has and gets it back. */
export async function recovery(): Promise<void> {
  tell(
    'opsbook, the tour. First a sandbox: a host with its own Docker engine, an app on it (nginx, a web app,\n' +
      'PostgreSQL, Redis), and an AWS emulator that enforces policies. Once it is built it comes up in seconds.',
  );
  const env = exports(await up());
  const app = scripts(env, env);

  tell(`1. People use the app at ${env['SANDBOX_URL']}: they write entries and upload pictures.`);
  await step('traffic', () => traffic(env['SANDBOX_URL'] ?? ''));

  tell('2. The nightly backup. Its credentials may put objects into the bucket and list it, no more.');
  await step('backup', async () => {
    await app.run('backup/backup');
    return 'database and uploads are in S3';
  });

  tell('3. The same credentials try to read what they have just written.');
  await step('a thief on the host', async () => {
    if (await mayRead(app)) throw new Error('the write-only role could read a backup');
    return 'refused: 403 AccessDenied';
  });

  await bringBack(app, await fingerprint(app));
  summary(
    'The sandbox stays up. Three commands to try next, after  eval "$(npm run --silent sandbox)" :\n\n' +
      '  npx tsx scripts/backup/list.ts --max-age 26h    # is the newest backup fresh? exit 3 when not\n' +
      '  npx tsx scripts/backup/backup.ts --dry-run      # every command, none of them run\n' +
      '  npx tsx scripts/backup/backup.ts                # again: what has not changed costs nothing\n\n' +
      'Two more tours, and the end of the sandbox:\n\n' +
      '  npm run tour -- deployments    # versions come and go under load, a broken one by itself\n' +
      '  npm run tour -- servers        # a bare machine becomes a host with secrets, certificate and app\n' +
      '  npm run sandbox -- down',
  );
}
