import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePins, pinsFile } from '../../../lib/deploy/compose-pin.ts';

test('pins are read back as they were written', () => {
  const release = {
    version: '2.0.0',
    images: { web: { reference: `shop/web:2.0.0@sha256:${'0'.repeat(64)}`, id: 'sha256:1' } },
  };
  assert.deepEqual(parsePins(pinsFile(release)), release);
  assert.equal(parsePins('services: {}'), undefined);
});
