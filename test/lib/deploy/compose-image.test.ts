import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prunable } from '../../../lib/deploy/compose-image.ts';

test('✗ prune removes the images needed for rollback: ours keeps them, and those that are not its own', () => {
  const release = (id: string) => ({ version: id, images: { web: { reference: `shop/web:${id}`, id } } });
  const records = ['1', '2', '3'].map((id) => ({
    ...release(id),
    ...{ at: '', did: 'update' as const, who: '', migrated: false, verified: true, ms: 0 },
  }));
  assert.deepEqual(prunable(records, [release('2'), release('3')]), ['shop/web:1']);
});
