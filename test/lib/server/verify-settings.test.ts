import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selects, verifySettings } from '../../../lib/server/verify-settings.ts';
import { resolveSettings } from '../../../lib/settings.ts';

test('CHECKS: some, all but some, and no others than there are', async () => {
  const { CHECKS } = verifySettings;
  const of = async (raw?: string) =>
    (await resolveSettings({ CHECKS }, raw === undefined ? {} : { CHECKS: raw })).CHECKS;
  const chosen = async (raw?: string) => {
    const checks = await of(raw);
    return ['dns', 'disk', 'logs'].filter((check) => selects(checks, check));
  };
  assert.deepEqual(await chosen(), ['dns', 'disk', 'logs']);
  assert.deepEqual(await chosen('disk, logs'), ['disk', 'logs']);
  assert.deepEqual(await chosen('-disk'), ['dns', 'logs']);
  await assert.rejects(of('dsk'), /there is no check "dsk"/);
});
