import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Command, cmd, show, wordsOf } from '../../../lib/command.ts';
import { hostOpsbook } from '../../../lib/host-opsbook.ts';
import { localHost } from '../../../lib/hosts.ts';
import type { Item } from '../../../lib/server/converge.ts';
import { systemOf } from '../../../lib/server/setup.ts';
import { systemNames } from '../../../lib/server/setup-settings.ts';
import { tempDir } from '../kit.ts';
import { itemsOf, made } from './setup-kit.ts';

const everything = { DOMAIN: ['bloaty.test'], BACKUP_SCHEDULE: '0 3 * * *', VERIFY_SCHEDULE: '30 7 * * *' };
const argvOf = (commands: readonly Command[]) => commands.map((command) => wordsOf(command).join(' '));

/** All that is run, and all that is written, by all items of all systems. */
const texts = (items: readonly Item[]) =>
  items.flatMap(({ so, make }) =>
    [so, ...make].map((act) => `${show(act)}\n${'input' in act ? act.input : ''}`),
  );
const all: string[] = [];
for (const name of systemNames) {
  all.push(...texts(await itemsOf(name, 'ec2', everything)));
  if (!name.startsWith('amzn')) all.push(...texts(await itemsOf(name, 'droplet', everything)));
}

test('Amazon Linux 2023 (which cannot be run here): Docker, cronie and certbot by dnf, curl left as it is', async () => {
  const items = await itemsOf('amzn-2023', 'ec2', everything);
  assert.deepEqual(argvOf(made(items, /^packages up to date/)).slice(0, 1), ['dnf -y upgrade']);
  assert.deepEqual(argvOf(made(items, /^tools/)), ['dnf -y install git jq cronie logrotate tar xz']);
  assert.deepEqual(argvOf(made(items, /^Docker \(/)), ['dnf -y install docker']);
  assert.deepEqual(argvOf(made(items, /^certbot$/)), ['dnf -y install certbot']);
  assert.deepEqual(argvOf(made(items, /^cron runs/)), ['systemctl enable --now crond']);
  assert.deepEqual(argvOf(made(items, /^no certbot-renew.timer/)), [
    'systemctl disable --now certbot-renew.timer',
  ]);
});

test('Amazon Linux 2023 is asked for nothing that it does not have', async () => {
  const said = texts(await itemsOf('amzn-2023', 'ec2', everything)).join('\n');
  for (const missing of ['apt-get', 'dpkg', 'ufw', 'docker-compose-plugin', 'certbot.timer'])
    assert.ok(!said.includes(missing), missing);
});

test('G1: Compose of "releases/latest" and an older buildx do not meet: both are pinned on Amazon Linux 2023 and Debian 12', async () => {
  for (const system of ['amzn-2023', 'debian-12']) {
    const items = await itemsOf(system, 'ec2');
    for (const [title, url, path] of [
      [
        /^Compose v2/,
        /\/compose\/releases\/download\/v2\.\d+\.\d+\/docker-compose-linux-x86_64$/,
        'docker-compose',
      ],
      [
        /^buildx v0/,
        /\/buildx\/releases\/download\/v0\.\d+\.\d+\/buildx-v0\.\d+\.\d+\.linux-amd64$/,
        'docker-buildx',
      ],
    ] as const) {
      const [, , , , intel, sum, arm, armSum, to] = wordsOf(made(items, title)[0]!);
      assert.match(intel!, url);
      assert.match(arm!, /(aarch64|linux-arm64)$/);
      for (const hex of [sum, armSum]) assert.match(hex!, /^[0-9a-f]{64}$/);
      assert.equal(to, `/usr/local/lib/docker/cli-plugins/${path}`);
    }
    const buildx = items.find(({ title }) => title.startsWith('buildx'))!;
    assert.ok(wordsOf(buildx.so).includes('0.17.0'));
  }
  assert.ok(!all.some((text) => text.includes('releases/latest')));
});

test("Ubuntu (which cannot be run here) has the distribution's Docker, Compose v2 and buildx, and asks nothing", async () => {
  for (const system of ['ubuntu-22.04', 'ubuntu-24.04']) {
    const [wait, configure, install] = made(await itemsOf(system, 'droplet'), /^Docker \(/);
    assert.match(wordsOf(wait!)[2]!, /lock-frontend/);
    assert.deepEqual(wordsOf(configure!), ['dpkg', '--configure', '-a']);
    assert.deepEqual(install!.env, { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'a' });
    const line = wordsOf(install!).join(' ');
    assert.match(
      line,
      /^apt-get -qy -o DPkg::Lock::Timeout=300 .* install --no-install-recommends --fix-broken /,
    );
    assert.match(line, / docker\.io docker-compose-v2 docker-buildx iptables$/);
  }
});

test("Docker's own packages stay, and get their own plugins: the distribution's would not go with them", () => {
  const system = systemOf({ os: 'ubuntu', version: '24.04', dockerCe: true })!;
  assert.ok(
    system.docker.includes('docker-compose-plugin') && system.docker.includes('docker-buildx-plugin'),
  );
  assert.ok(!system.docker.includes('docker.io'));
  assert.equal(system.pinned, false);
});

test('the user of the image owns the app on EC2, deploy on a droplet, and whoever is told anywhere', async () => {
  const userIn = (items: Item[]) => items.find(({ title }) => title.startsWith('user '))?.title;
  assert.equal(userIn(await itemsOf('amzn-2023', 'ec2')), 'user ec2-user');
  assert.equal(userIn(await itemsOf('ubuntu-24.04', 'ec2')), 'user ubuntu');
  assert.equal(userIn(await itemsOf('debian-13', 'ec2')), 'user admin');
  assert.equal(userIn(await itemsOf('debian-13', 'droplet')), 'user deploy');
  assert.equal(userIn(await itemsOf('debian-13', 'droplet', { APP_USER: 'ops' })), 'user ops');
});

test('G1: nothing runs "compose down": it removes the containers at each shutdown', () => {
  assert.ok(all.some((text) => text.includes('docker compose stop')));
  assert.ok(!all.some((text) => /compose.* down/.test(text)));
});

test('G1: nothing calls docker-compose, of which only the plugin is there', () => {
  assert.ok(!all.some((text) => /docker-compose (up|stop|exec|version|-f)/.test(text)));
});

test('G4: nothing appends to a crontab', () => {
  assert.ok(!all.some((text) => /crontab -/.test(text)));
});

test('ufw: the ports of sshd are opened before anything else, and before it is enabled', async () => {
  const [first, ...rest] = argvOf(made(await itemsOf('ubuntu-24.04', 'droplet'), /^ufw lets in/));
  assert.match(first!, / ufw allow "\$rule"; done sh 22\/tcp 80\/tcp 443\/tcp 443\/udp$/);
  assert.ok(rest.indexOf('ufw --force enable') > rest.indexOf('ufw default deny incoming'));
});

test('an app behind a Caddy has no certbot, and no entry that renews', async () => {
  const items = await itemsOf('ubuntu-24.04', 'droplet', { ...everything, PROXY_SERVICE: 'caddy' });
  const titles = items.map(({ title }) => title);
  assert.ok(!titles.includes('certbot'));
  assert.ok(titles.includes('no /etc/cron.d/bloaty-renew'));
});

test('an entry of cron: five fields, a user, absolute paths, % escaped, odd paths quoted, no dot in its name', async () => {
  const items = await itemsOf('debian-13', 'ec2', {
    APP: 'my.app',
    APP_DIR: '/srv/100% mine',
    BACKUP_SCHEDULE: '0 3 * * *',
  });
  const [act] = made(items, /^\/etc\/cron\.d\/my-app-backup /);
  assert.equal(
    (act as { input?: string }).input,
    `# Written by opsbook: the next set-up undoes what is changed here. The times are the host's, in UTC.
SHELL=/bin/sh
PATH=/opt/opsbook/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TARGET=local
0 3 * * * admin /opt/opsbook/node_modules/.bin/tsx /opt/opsbook/scripts/backup/backup.ts --env-file '/srv/100\\% mine/.env' >> /var/log/opsbook/my.app-backup.log 2>&1
`,
  );
});

test('a unit: % doubled, the compose files in its environment, the first of them its condition', async () => {
  const more = { APP_DIR: '/srv/100%', COMPOSE_FILE: 'docker-compose.yml:deploy/"prod".yml' };
  const [act] = made(await itemsOf('debian-13', 'ec2', more), /^unit /);
  const text = (act as { input?: string }).input!;
  assert.match(text, /^WorkingDirectory=\/srv\/100%%$/m);
  assert.match(text, /^Environment="COMPOSE_FILE=docker-compose\.yml:deploy\/\\"prod\\"\.yml"$/m);
  assert.match(text, /^ConditionPathExistsGlob=\/srv\/100%%\/docker-compose\.yml$/m);
});

test('F27: the unit and the entries of cron read the same env file as every docker compose', async () => {
  const items = await itemsOf('debian-13', 'ec2', {
    ...{ APP_DIR: '/opt/chitram', SECRETS_FILE: '.env.production', COMPOSE_PROJECT_NAME: 'chitram' },
    BACKUP_SCHEDULE: '0 3 * * *',
  });
  const unit = (made(items, /^unit /)[0] as { input?: string }).input!;
  assert.match(unit, /^ConditionPathExists=\/opt\/chitram\/\.env\.production$/m);
  assert.match(unit, /^Environment="COMPOSE_PROJECT_NAME=chitram"$/m);
  const compose = '/usr/bin/docker compose --env-file /opt/chitram/.env.production';
  assert.ok(unit.includes(`ExecStart=${compose} up --detach\nExecStop=${compose} stop\n`));
  const entry = (made(items, /^\/etc\/cron\.d\/.*-backup /)[0] as { input?: string }).input!;
  assert.match(
    entry,
    /^SECRETS_FILE="\.env\.production"\n0 3 \* \* \* .* --env-file \/opt\/chitram\/\.env\.production .*>>/m,
  );
});

test('R3: a unit of compose files elsewhere is one line a command, in quotes and dollars of systemd', async () => {
  const [act] = made(await itemsOf('debian-13', 'ec2', { COMPOSE_FILE: 'deploy/compose.yml' }), /^unit /);
  const text = (act as { input?: string }).input!;
  assert.match(
    text,
    /^ExecStart=\/bin\/sh -c "project=\$\$1 app=\$\$2; [^\n]*\\"\$\$@\\"" compose \S+\/deploy\/\.env \S+\/\.env up --detach$/m,
  );
});

test("F27: a host's own runs read the app's .env, and SECRETS_FILE over it, of those that are there", async (t) => {
  const [APP_DIR, OPSBOOK_DIR] = [join(tempDir(t), "50% o'ff"), tempDir(t)];
  const [bin, script] = [join(OPSBOOK_DIR, 'node_modules/.bin'), 'scripts/backup/backup.ts'];
  for (const dir of [APP_DIR, bin, join(OPSBOOK_DIR, 'scripts/backup')]) mkdirSync(dir, { recursive: true });
  writeFileSync(join(OPSBOOK_DIR, script), '');
  writeFileSync(join(bin, 'tsx'), '#!/bin/sh\nshift\nprintf "%s\\n" "of $SECRETS_FILE" "$@"\n', {
    mode: 0o755,
  });
  const [own, other] = [join(APP_DIR, '.env'), join(APP_DIR, '.env.production')];
  for (const [SECRETS_FILE, there, read] of [
    ['.env', [], [own]],
    ['.env.production', [], [other]],
    ['.env.production', [other], [other]],
    ['.env.production', [own], [own]],
    ['.env.production', [own, other], [own, other]],
  ] as const) {
    for (const file of [own, other]) rmSync(file, { force: true });
    for (const file of there) writeFileSync(file, '');
    const settings = { APP_DIR, OPSBOOK_DIR, SECRETS_FILE };
    const flags = read.flatMap((file) => ['--env-file', file]);
    const run = await localHost().run(hostOpsbook(settings, 'backup/backup', ['--dry-run']));
    assert.deepEqual(run.trim().split('\n'), [`of ${SECRETS_FILE}`, ...flags, '--dry-run']);
    const items = await itemsOf('debian-13', 'ec2', { ...settings, BACKUP_SCHEDULE: '0 3 * * *' });
    const entry = (made(items, /^\/etc\/cron\.d\/.*-backup /)[0] as { input?: string }).input!;
    const [, command = ''] = /^0 3 \* \* \* admin (.*) >> /m.exec(entry) ?? [];
    const line = command.replaceAll('\\%', '%');
    assert.deepEqual((await localHost().run(cmd`sh -c ${line}`)).trim().split('\n'), ['of ', ...flags]);
  }
});
