import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { refuseFullDisk } from '../../../../lib/deploy/compose/preflight.ts';
import type { Failure } from '../../../../lib/failure.ts';
import { localHost } from '../../../../lib/hosts/local.ts';

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
