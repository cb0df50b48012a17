import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  judgeContainers,
  judgeDisk,
  judgeInodes,
  judgeLogs,
  judgeMemory,
  judgePorts,
  judgeRestarts,
  judgeSwap,
  parseFileSystems,
  parseUfw,
} from '../../../lib/server/verify-machine.ts';

const NOW = new Date('2026-11-21T08:00:00Z');
const well = {
  ...{ service: 'web', name: '/bloaty-web-1', oneOff: 'False', state: 'running', health: 'healthy', exit: 0 },
  ...{ oom: false, restarts: 0, started: '2026-11-20T08:00:00Z', policy: 'unless-stopped' },
};
const seen = (services: string[], ...containers: Array<Partial<typeof well>>) =>
  [...services, '--', ...containers.map((one) => JSON.stringify({ ...well, ...one }))].join('\n');

test('containers: all run, and are healthy where they can say so', () => {
  const [row] = judgeContainers(seen(['web', 'worker'], {}, { service: 'worker', health: '' }));
  assert.equal(row?.state, 'ok');
  assert.equal(row?.found, '2 running, all healthy');
});

test('containers: an initialisation that exited with 0 did its job (D6.4: --wait fails on it)', () => {
  const init = { service: 'init', state: 'exited', health: '', policy: 'no' };
  assert.equal(judgeContainers(seen(['web', 'init'], {}, init))[0]?.state, 'ok');
});

for (const [what, change, found] of [
  ['stopped with 0 though it is to run for ever', { state: 'exited' }, 'web is stopped (exit 0)'],
  ['an initialisation that failed', { state: 'exited', exit: 1, policy: 'no' }, 'web is stopped (exit 1)'],
  ['unhealthy', { health: 'unhealthy' }, 'web is unhealthy'],
  ['in a crash loop', { state: 'restarting', exit: 1 }, 'web is restarting'],
  ['out of memory', { state: 'exited', exit: 137, oom: true }, 'web was killed: out of memory'],
  ['not started yet', { state: 'created' }, 'web is created'],
] as const)
  test(`containers: ${what} is a problem`, () => {
    const [row] = judgeContainers(seen(['web'], change));
    assert.deepEqual([row?.state, row?.found], ['problem', found]);
    assert.notEqual(row?.todo, '');
  });

test('containers: a service without a container is a problem; a one-off of another is none of its', () => {
  const rows = judgeContainers(seen(['web', 'db'], {}, { service: 'db', oneOff: 'True' }));
  assert.deepEqual(
    rows.map(({ found }) => found),
    ['db has no container'],
  );
});

test('restarts: a recent one and too many are problems, an old one is not', () => {
  const of = (change: Partial<typeof well>) => judgeRestarts(seen(['web'], change), NOW)[0]?.state;
  assert.equal(of({}), 'ok');
  assert.equal(of({ restarts: 3 }), 'ok');
  assert.equal(of({ restarts: 4 }), 'problem');
  assert.equal(of({ restarts: 1, started: '2026-11-21T07:30:00Z' }), 'problem');
});

test('logs: a row a container, with its count and its last lines', () => {
  const rows = judgeLogs('web-1\t7\tERROR one\nweb-1\t7\tERROR two\ndb-1\t1\tFATAL: password=hunter22');
  assert.deepEqual(
    rows.map(({ found, lines }) => [found, lines]),
    [
      ['db-1: 1 error line in the last hour', ['FATAL: password=[redacted]']],
      ['web-1: 7 error lines in the last hour', ['ERROR one', 'ERROR two']],
    ],
  );
  assert.equal(judgeLogs('')[0]?.state, 'ok');
});

const HEAD = 'Filesystem     Type     1024-blocks     Used Available Capacity Mounted on';
const df = (...lines: string[]) => [HEAD, ...lines].join('\n');
const root = (used: number, free: number) => `/dev/nvme0n1p1 ext4 20000000 ${used} ${free} 50% /`;

test('disk: each file system once, and none that is no disk', () => {
  const systems = parseFileSystems(
    df(
      root(10, 90),
      root(10, 90),
      '/dev/loop3 squashfs 100 100 0 100% /snap/core/1',
      'tmpfs tmpfs 100 99 1 99% /run',
      'overlay overlay 100 50 50 50% /var/lib/docker/overlay2/abc/merged',
      '/dev/nvme1n1 xfs 100 95 5 95% /home/ec2-user/my data',
      'none tmpfs 0 0 0 - /empty',
    ),
  );
  assert.deepEqual(
    systems.map(({ mount }) => mount),
    ['/', '/home/ec2-user/my data'],
  );
});

test('disk and inodes: nine tenths is a problem, eight a warning, below is well', () => {
  for (const rows of [judgeDisk, judgeInodes]) {
    assert.equal(rows(df(root(90, 10)))[0]?.state, 'problem');
    assert.equal(rows(df(root(80, 20)))[0]?.state, 'warning');
    assert.equal(rows(df(root(79, 21)))[0]?.state, 'ok');
  }
});

test('✗ G4: low disk is not answered with docker system prune, which deletes data of stopped stacks', () => {
  assert.doesNotMatch(judgeDisk(df(root(95, 5)))[0]?.todo ?? '', /prune/);
});

const meminfo = (total: number, available: number, swap = 0, free = 0) =>
  `MemTotal: ${total} kB\nMemAvailable: ${available} kB\nSwapTotal: ${swap} kB\nSwapFree: ${free} kB\n`;

test('memory: a twentieth left is a problem, a tenth a warning', () => {
  assert.equal(judgeMemory(meminfo(2_000_000, 90_000))[0]?.state, 'problem');
  assert.equal(judgeMemory(meminfo(2_000_000, 190_000))[0]?.state, 'warning');
  assert.equal(judgeMemory(meminfo(2_000_000, 210_000))[0]?.state, 'ok');
});

test('swap: used up is a problem, none on a small machine a warning', () => {
  assert.equal(judgeSwap(meminfo(2_000_000, 1, 1000, 100))[0]?.state, 'problem');
  assert.equal(judgeSwap(meminfo(2_000_000, 1, 1000, 900))[0]?.state, 'ok');
  assert.equal(judgeSwap(meminfo(2_000_000, 1))[0]?.state, 'warning');
  assert.equal(judgeSwap(meminfo(8_000_000, 1))[0]?.state, 'ok');
});

const SS = `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=1,fd=4))
LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=2,fd=14))
LISTEN 0 4096 [::1]:631 [::]:*
LISTEN 0 4096 *:443 *:* users:(("docker-proxy",pid=3,fd=7))`;
const UFW = `Status: active

To                         Action      From
--                         ------      ----
22/tcp                     LIMIT       Anywhere
80,443/tcp                 ALLOW       Anywhere
5432                       ALLOW       10.0.0.0/8
9000:9010/tcp              ALLOW       Anywhere
53/udp                     ALLOW       Anywhere
22/tcp (v6)                LIMIT       Anywhere (v6)
`;
const SHUT = `-N DOCKER-USER
-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A DOCKER-USER -p tcp -m conntrack --ctorigdstport 443 -j RETURN
-A DOCKER-USER -j DROP`;
const listing = ({ ss = SS, docker = '', ufw = '', user = '-N DOCKER-USER\n-A DOCKER-USER -j RETURN' }) =>
  `${ss}\n-- docker\n${docker}\n-- ufw\n${ufw}\n-- docker-user\n${user}\n`;
const WANTED = [22, 80, 443];
const found = (parts: Parameters<typeof listing>[0]) =>
  judgePorts(listing(parts), WANTED).map((row) => `${row.state}: ${row.found}`);

test('ports: what is open is what is meant to be; loopback is not open', () => {
  assert.deepEqual(found({}), ['ok: open: 22, 443; no firewall on the host']);
});

const REDIS = `${SS}\nLISTEN 0 511 0.0.0.0:6379 0.0.0.0:* users:(("redis-server",pid=9,fd=6))`;

test('ports: another that listens is a problem, with who it is, unless ufw keeps it shut', () => {
  assert.deepEqual(found({ ss: REDIS }), ['problem: redis-server listens on 6379']);
  assert.deepEqual(found({ ss: REDIS, ufw: UFW }), ['ok: open: 22, 443; ufw is on']);
  const open = UFW.replace('5432  ', '6379  ').replace('10.0.0.0/8', 'Anywhere');
  assert.deepEqual(found({ ss: REDIS, ufw: open }), [
    'problem: redis-server listens on 6379, and ufw lets everybody in',
  ]);
});

const PUBLISHED = 'bloaty-db-1 0.0.0.0:5432->5432/tcp, [::]:5432->5432/tcp, 127.0.0.1:9->9/tcp';

test('D6.9: what Docker publishes passes ufw by, and is named', () => {
  assert.deepEqual(found({ docker: PUBLISHED, ufw: UFW }), [
    'problem: Docker publishes 5432 of bloaty-db-1, which ufw does not close',
  ]);
  assert.deepEqual(found({ docker: PUBLISHED }), ['problem: Docker publishes 5432 of bloaty-db-1']);
});

test('what the chain DOCKER-USER keeps shut is not open', () => {
  assert.deepEqual(found({ docker: PUBLISHED, ufw: UFW, user: SHUT }), ['ok: open: 22, 443; ufw is on']);
});

test('a range that Docker publishes is each of its ports', () => {
  assert.equal(found({ docker: 'x 0.0.0.0:8000-8002->8000-8002/tcp, 53/udp' }).length, 3);
});

test('ufw: lists, ranges, names and who may come', () => {
  const lets = parseUfw(`${UFW}OpenSSH                    ALLOW       Anywhere\n`);
  assert.deepEqual(
    [22, 443, 5432, 9005, 53, 6379].map((port) => lets?.(port)),
    [...[true, true, false, true, false, false]],
  );
  assert.equal(parseUfw('Status: inactive\n'), undefined);
});
