import { join } from 'node:path';
import { directory, stateDir } from '../names.ts';
import { forgetImage } from './cloud.ts';
import { overSsm } from './instance.ts';
import { step, summary, tell } from './narration.ts';
import { prepare } from './prepare.ts';
import { type Scripts, scripts, shellFile } from './scripts.ts';
import { DOMAIN, thisCommit } from './site.ts';

async function setUp(app: Scripts): Promise<void> {
  tell(
    '2. The droplet: Debian as a provider hands it out, with sshd and nothing else. One script makes it ready, over ssh:\n' +
      'Docker, the user, directories, the app, cron entries, a unit for the boot, firewall, fail2ban, updates, keys only.',
  );
  const TARGET = (app.env['TARGET'] ?? '').replace('deploy@', 'root@');
  const root = app.with({ TARGET, GIT_DIR: await thisCommit() });
  await step('set-up', async () => {
    await root.run('server/setup-droplet');
    return 'a bare machine is ready for the app';
  });
  await step('set-up, again', async () => {
    const items = JSON.parse(await root.ask('server/setup-droplet', ['--json'])) as Array<{ was: string }>;
    const changed = items.filter(({ was }) => was !== 'so');
    if (changed.length > 0) throw new Error(`the second run changed ${JSON.stringify(changed)}`);
    return `${items.length} items, all unchanged`;
  });
}

async function giveSecrets(app: Scripts): Promise<void> {
  tell(
    "3. Secrets. The app's template says which are to be drawn; they go to Secrets Manager, by somebody who may write\n" +
      'there, and from there into a file that the app reads, by somebody who may only read. No value is ever shown.',
  );
  await step('secrets', async () => {
    await app.run('server/generate-secrets', [], { as: 'SECRETS_WRITER' });
    await app.run('server/fetch-secrets', [], { as: 'SECRETS_READER' });
    const mode = (
      await app.ask('server/remote', ['shell', 'stat', '-c', '%a %U', '/opt/bloaty/.env'])
    ).trim();
    if (mode !== '600 deploy') throw new Error(`the file is ${mode}`);
    return "drawn, stored, and on the droplet in a file for its owner's eyes";
  });
}

async function start(app: Scripts, fromHub: Promise<void>): Promise<void> {
  tell(
    `4. A certificate for ${DOMAIN}, from an authority that looks for its challenge on port 80 of the droplet. nginx\n` +
      'cannot start without one, so that it is got before.',
  );
  await step('certificate', async () => {
    await app.run('server/issue-certificate');
    return 'issued by webroot, and will be renewed that way';
  });
  tell(
    '5. The app is started: the first deployment. What is on Docker Hub was brought meanwhile; the image of the app is\n' +
      'in a registry that wants a login, which the script brings and takes away again.',
  );
  await step('first deployment', async () => {
    await fromHub;
    await app.run('deploy/update-deployment', ['1.0.0'], { as: 'ADMIN' });
    const [left] = /\d+ days left/.exec(await app.ask('server/check-certificate')) ?? [];
    if (!left) throw new Error('the check does not say how long the certificate lasts');
    return `https://${DOMAIN} serves 1.0.0, with a certificate that has ${left}`;
  });
}

async function look(app: Scripts, report: string): Promise<void> {
  tell(
    '6. Is all as it should be? From outside (names, certificate, redirect, version) and inside (disks to secrets).',
  );
  await step('verify', async () => {
    await app.run('server/verify', ['--html', report], { as: 'SECRETS_READER' });
    return `no check finds a problem; as a page: ${report}`;
  });
}

async function overSsh(app: Scripts): Promise<void> {
  tell('7. And it is looked after from here, by ssh.');
  await step('remote, by ssh', async () => {
    await app.run('server/remote', ['status']);
    await app.run('server/remote', ['logs', 'web', '--tail', '3']);
    const user = ['create-user', 'ada@example.org', '--service', 'db', '--password-stdin'];
    await app.run('server/remote', user, { input: 'Correct-Horse-1\n', note: 'the password on its stdin' });
    const query = ['psql', '-U', 'postgres', '-d', 'bloaty', '-Atc', 'SELECT email FROM users'];
    const users = (await app.ask('server/remote', ['--service', 'db', 'exec', ...query])).trim();
    process.stdout.write(`${users}\n`);
    if (users !== 'ada@example.org') throw new Error(`the users are ${users}`);
    return 'status, logs, create-user, exec: words stay words, and the password is in no command line';
  });
}

/** `npm run tour -- servers`: a bare machine becomes a host, by scripts that run on this one. */
export async function servers(): Promise<void> {
  tell(
    'opsbook, the tour of servers. A droplet on which nothing is installed, an EC2 instance, and AWS; all that happens\n' +
      'to them is done by scripts on this machine. What cannot be had everywhere is put there beforehand: the download of\n' +
      `Node, the app's repository in the place of GitHub, and ${DOMAIN}, which only this machine and the authority know.`,
  );
  const { world, repository, sandbox, env, pullFromHub } = await prepare();
  const app = scripts(env, sandbox);
  tell("1. The app's image, built from its repository and pushed under its version and commit.");
  await step('build', async () => {
    const engine = world.engine.host ? { DOCKER_HOST: world.engine.host } : {};
    await app.with(engine).run('deploy/build-image', ['1.0.0'], { as: 'ADMIN', cwd: repository });
    await forgetImage(world);
    return 'the image is in the registry';
  });
  await setUp(app);
  const fromHub = pullFromHub();
  fromHub.catch(() => {}); // it is told where it is waited for
  await giveSecrets(app);
  await start(app, fromHub);
  await look(app, join(directory(stateDir, 'tour'), 'verify.html'));
  await overSsh(app);
  tell('8. Not every host is reached by ssh.');
  await overSsm(world, app);
  // Who tries something next may read secrets, and nothing else of AWS.
  const keys = { AWS_ACCESS_KEY_ID: sandbox['SANDBOX_SECRETS_READER_ACCESS_KEY_ID'] ?? '' };
  const secret = { AWS_SECRET_ACCESS_KEY: sandbox['SANDBOX_SECRETS_READER_SECRET_ACCESS_KEY'] ?? '' };
  const file = shellFile('servers', { ...env, ...keys, ...secret }, sandbox);
  summary(
    `Both hosts stay up. Commands to try next, after  . ${file}\n\n` +
      '  npx tsx scripts/server/remote.ts logs web --follow              # until Ctrl-C\n' +
      '  npx tsx scripts/server/verify.ts                                # exit 3 when something is wrong:\n' +
      '  npx tsx scripts/server/remote.ts shell docker stop bloaty-redis-1    # … such as this\n' +
      '  npx tsx scripts/server/fetch-secrets.ts --check                 # store, file and containers agree\n\n' +
      'and to end the sandbox:  npm run sandbox -- down',
  );
}
