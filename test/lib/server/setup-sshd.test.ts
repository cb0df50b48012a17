import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SSHD } from '../../../lib/server/setup-sshd.ts';
import { tempDir, until } from '../kit.ts';

const started = (process: ChildProcess, name: string): number => {
  assert.equal(readFileSync(`/proc/${process.pid}/comm`, 'utf8').trim(), name);
  return process.pid!;
};

/** Real processes that are called as sshd's are, and the id of each; they wait for input until the test ends. */
async function processes(t: TestContext): Promise<Record<string, number>> {
  const dir = tempDir(t);
  const [sshd, dropbear, child] = [join(dir, 'sshd'), join(dir, 'dropbear'), join(dir, 'child')];
  for (const path of [sshd, dropbear]) copyFileSync('/bin/sh', path);
  const start = (path: string, argv0: string, script = 'read -r line') => {
    const process = spawn(path, ['-c', script], { argv0, stdio: ['pipe', 'ignore', 'inherit'] });
    t.after(() => process.stdin?.end());
    return process;
  };
  const forking = start(
    dropbear,
    dropbear,
    `exec 3<&0; ${dropbear} -c 'read -r line' <&3 & echo $! >${child}; wait`,
  );
  const told = () => spawnSync('cat', [child], { encoding: 'utf8' }).stdout.trim();
  await until('the session is there', () => told() !== '');
  await until('it is a dropbear', () => readFileSync(`/proc/${told()}/comm`, 'utf8') === 'dropbear\n');
  return {
    old: started(start(sshd, '/usr/sbin/sshd'), 'sshd'),
    listener: started(start(sshd, 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups'), 'sshd'),
    relative: started(start(sshd, 'sshd: sshd -r [listener] 0 of 10-100 startups'), 'sshd'),
    session: started(start(sshd, 'sshd: deploy'), 'sshd'),
    root: started(start(sshd, 'sshd: root@pts/0'), 'sshd'),
    dropbear: started(forking, 'dropbear'),
    dropbearSession: Number(told()),
  };
}

test("H1: what a session forwards is not sshd's, and what only this machine reaches needs no rule", async (t) => {
  const ids = await processes(t);
  const bin = tempDir(t);
  const line = (address: string, name: string, pid = 0) =>
    `LISTEN 0 128 ${address} 0.0.0.0:* users:(("${name}",pid=${pid},fd=3))\n`;
  const listening = [
    line('0.0.0.0:22', 'sshd', ids.listener),
    line('[::]:2200', 'sshd', ids.old),
    line('0.0.0.0:2201', 'sshd', ids.relative),
    line('127.0.0.1:2202', 'sshd', ids.listener),
    line('[::1]:2202', 'sshd', ids.listener),
    line('0.0.0.0:2203', 'dropbear', ids.dropbear),
    line('127.0.0.1:8080', 'sshd', ids.session),
    line('0.0.0.0:2222', 'sshd', ids.session),
    line('127.0.0.1:6010', 'sshd', ids.root),
    line('0.0.0.0:2223', 'dropbear', ids.dropbearSession),
    line('0.0.0.0:80', 'nginx', ids.old),
    'LISTEN 0 128 *:2204 *:* users:(("sshd",pid=999999999,fd=3),("systemd",pid=1,fd=40))\n',
  ];
  writeFileSync(join(bin, 'listening'), listening.join(''));
  const says = 'port 22\nlistenaddress 127.0.0.1:2205\nlistenaddress [::1]:2205\nlistenaddress [::]:2206\n';
  writeFileSync(join(bin, 'says'), says);
  writeFileSync(join(bin, 'ss'), `#!/bin/sh\ncat ${bin}/listening\n`, { mode: 0o755 });
  writeFileSync(join(bin, 'sshd'), `#!/bin/sh\ncat ${bin}/says\n`, { mode: 0o755 });
  writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\necho "[::]:2207 ssh.socket ssh.service"\n', {
    mode: 0o755,
  });
  const said = (name: string) => {
    const env = { PATH: `${bin}:${process.env.PATH}` };
    const { stdout, stderr } = spawnSync('sh', ['-c', `set -e\n${SSHD}\n${name}`], { env, encoding: 'utf8' });
    assert.equal(stderr, '');
    return stdout.trim().split('\n');
  };
  assert.deepEqual(said('sshd_listens'), [
    ...['0.0.0.0:22', '[::]:2200', '0.0.0.0:2201', '127.0.0.1:2202', '[::1]:2202', '0.0.0.0:2203'],
    ...['*:2204', '[::]:2207'],
  ]);
  assert.deepEqual(said('sshd_ports'), ['22', '2200', '2201', '2203', '2204', '2206', '2207']);
});
