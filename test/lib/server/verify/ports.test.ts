import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUfw, portRows } from '../../../../lib/server/verify-machine.ts';

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
const seen = ({ ss = SS, docker = '', ufw = '', user = '-N DOCKER-USER\n-A DOCKER-USER -j RETURN' }) =>
  `${ss}\n-- docker\n${docker}\n-- ufw\n${ufw}\n-- docker-user\n${user}\n`;
const WANTED = [22, 80, 443];
const found = (parts: Parameters<typeof seen>[0]) =>
  portRows(seen(parts), WANTED).map((row) => `${row.state}: ${row.found}`);

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
    'problem: Docker publishes 5432 of bloaty-db-1, which ufw does not keep shut',
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
