import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findCommit } from '../../../lib/deploy/compose-build.ts';
import { localHost } from '../../../lib/hosts.ts';

const root = mkdtempSync(join(tmpdir(), 'opsbook-checkout-'));
const [remote, clone, app] = ['remote.git', 'clone', 'app'].map((name) => join(root, name)) as [
  string,
  string,
  string,
];
const env = {
  ...process.env,
  ...{ GIT_CONFIG_GLOBAL: join(root, 'config'), GIT_CONFIG_SYSTEM: '/dev/null' },
  ...{
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@example.org',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@example.org',
  },
};
const git = (dir: string, ...args: string[]) =>
  execFileSync('git', ['-C', dir, ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
const commit = (name: string): string => {
  git(clone, 'commit', '--quiet', '--allow-empty', '--message', name);
  git(clone, 'push', '--quiet', 'origin', 'HEAD');
  return git(clone, 'rev-parse', 'HEAD');
};
const found = (wanted: string) => findCommit(localHost(), app, wanted);

before(() => {
  git(root, 'init', '--quiet', '--bare', '--initial-branch=main', remote);
  git(root, 'clone', '--quiet', remote, clone);
  git(clone, 'checkout', '--quiet', '-B', 'main');
  commit('one');
  // As a host has it that fetches one branch alone.
  git(root, 'clone', '--quiet', '--single-branch', '--branch', 'main', `file://${remote}`, app);
});
after(() => rmSync(root, { recursive: true }));

test('R1: a branch is what its remote has, and main~1 the commit before that', async () => {
  const [two, three] = [commit('two'), commit('three')];
  assert.equal(await found('main'), three);
  assert.equal(await found('origin/main'), three);
  assert.equal(await found('refs/heads/main'), three);
  assert.equal(await found('main~1'), two);
  assert.equal(await found(two), two);
  assert.equal(await found(two.slice(0, 8)), two);
});

test('R1: a branch that the clone never fetched is what its remote has; one that moved there since too', async () => {
  const at = git(clone, 'rev-parse', 'HEAD');
  git(clone, 'push', '--quiet', 'origin', `${at}~1:refs/heads/release`);
  assert.equal(await found('release'), git(clone, 'rev-parse', `${at}~1`));
  git(clone, 'push', '--quiet', 'origin', `${at}:refs/heads/release`);
  assert.equal(await found('release'), at);
});

test('R1: a local branch of another name follows what it is told to', async () => {
  git(app, 'branch', '--quiet', 'production', 'HEAD');
  git(app, 'config', 'branch.production.remote', 'origin');
  git(app, 'config', 'branch.production.merge', 'refs/heads/main');
  const four = commit('four');
  assert.equal(await found('production'), four);
});

test('R1: a tag is a tag; one that was moved at the remote is told, not used', async () => {
  const at = git(clone, 'rev-parse', 'HEAD');
  git(clone, 'tag', '--annotate', '--message', 'x', 'v1', `${at}~1`);
  git(clone, 'push', '--quiet', 'origin', 'v1');
  assert.equal(await found('v1'), git(clone, 'rev-parse', `${at}~1`));
  git(clone, 'tag', '--force', '--annotate', '--message', 'y', 'v1', at);
  git(clone, 'push', '--quiet', '--force', 'origin', 'v1');
  await assert.rejects(found('v1'), /the tag v1 is another commit in .* than at origin/);
});

test('R1: what is two things is told', async () => {
  const at = git(clone, 'rev-parse', 'HEAD');
  git(clone, 'push', '--quiet', 'origin', `${at}:refs/heads/both`, `${at}~1:refs/tags/both`);
  await assert.rejects(found('both'), { message: 'both is a branch and a tag', exit: 2 });
  assert.equal(await found('refs/tags/both'), git(clone, 'rev-parse', `${at}~1`));
  assert.equal(await found('refs/heads/both'), at);
  git(clone, 'push', '--quiet', 'origin', `${at}:refs/heads/${at.slice(0, 7)}`);
  await assert.rejects(found(at.slice(0, 7)), /is a branch and a commit/);
});

test('R1: a branch of the clone alone, and one that is gone at the remote, say nothing of what was pushed', async () => {
  git(app, 'branch', '--quiet', 'own', 'HEAD');
  await assert.rejects(found('own'), { message: `origin has no own, whatever ${app} has`, exit: 2 });
  git(clone, 'push', '--quiet', 'origin', '--delete', 'release');
  await assert.rejects(found('release'), { exit: 2 });
  await assert.rejects(found('origin/release'), { exit: 2 });
});

test('R1: a fetch that fails is told, whatever was fetched before', async () => {
  git(app, 'remote', 'set-url', 'origin', join(root, 'gone.git'));
  await assert.rejects(found('main'), /cannot fetch/);
  git(app, 'remote', 'set-url', 'origin', `file://${remote}`);
});

test('R1: a branch that follows one of the clone itself is told, not deployed for ever', async () => {
  git(app, 'config', 'branch.main.remote', '.');
  await assert.rejects(found('main'), /the branch main of .* follows no branch of a remote/);
  git(app, 'config', 'branch.main.remote', 'origin');
});
