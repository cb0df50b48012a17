import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { changedNames, refuseFullDisk } from '../../../lib/deploy/compose-preflight.ts';
import type { Failure } from '../../../lib/failure.ts';
import { localHost } from '../../../lib/hosts.ts';

const engine = { platform: 'linux/amd64', insecure: [], root: tmpdir() };
const image = (bytes: number) => [{ reference: 'shop/web:2.0.0', bytes }];

test('an image that does not fit on the disk of Docker is refused with what is free and what is needed', async () => {
  await assert.rejects(refuseFullDisk(localHost(), engine, image(1e15)), (error: Failure) => {
    assert.match(error.message, /has .* free, the image needs about 3\.0 PB/);
    assert.match(error.next ?? '', /make room/);
    return true;
  });
});

test('one that fits, one that is there already, and a disk that cannot be seen are not', async () => {
  await refuseFullDisk(localHost(), engine, image(1e3));
  await refuseFullDisk(localHost(), engine, image(0));
  await refuseFullDisk(localHost(), { ...engine, root: '/no-such-folder-of-docker' }, image(1e15));
});

test('R3: the names that change are those with other values, those that are missing, and those that would be taken away', () => {
  const has = ['A=1', 'B=x=$y', 'MULTI=a\nb', 'PATH=/bin', 'HTTP_PROXY=p', 'LEFT=over'];
  const own = ['PATH=/bin'];
  const same = { A: '1', B: 'x=$$y', MULTI: 'a\nb', LEFT: 'over', NOT_SET: null };
  assert.deepEqual(changedNames(same, has, own), []);
  assert.deepEqual(changedNames({ ...same, A: '2', NEW: '' }, has, own), ['A', 'NEW']);
  assert.deepEqual(changedNames({ A: '1', B: 'x=$$y', MULTI: 'a\nb' }, has, own), ['LEFT']);
  // Of an image that is gone it is not known what it set.
  assert.deepEqual(changedNames({ A: '1', B: 'x=$$y', MULTI: 'a\nb' }, has, undefined), []);
});

test('R3: the pin that a deployment itself wrote into an .env that services read is no other environment', () => {
  const pinned = { A: '1', COMPOSE_FILE: 'compose.yml:.opsbook/deployed.yml' };
  assert.deepEqual(changedNames(pinned, ['A=1'], []), []);
  assert.deepEqual(changedNames(pinned, ['A=1', 'COMPOSE_FILE=compose.yml'], []), []);
  assert.deepEqual(changedNames({ A: '1' }, ['A=1', 'COMPOSE_FILE=compose.yml'], []), []);
  assert.deepEqual(changedNames(pinned, ['A=2'], []), ['A']);
});
