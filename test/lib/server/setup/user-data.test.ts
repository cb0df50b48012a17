import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { systemNames } from '../../../../lib/server/setup/system.ts';
import { USER_DATA_MAX, userData } from '../../../../lib/server/setup/user-data.ts';
import { itemsOf } from './kit.ts';

const all = { DOMAIN: ['bloaty.test'], BACKUP_SCHEDULE: '0 3 * * *', VERIFY_SCHEDULE: '30 7 * * *' };

for (const name of systemNames)
  test(`user data for ${name} on EC2 is one script that sh can read, no larger than EC2 takes`, () => {
    const text = userData(itemsOf(name, 'ec2', all), 'test');
    const { status, stderr } = spawnSync('sh', ['-n'], { input: text, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.ok(Buffer.byteLength(text) <= USER_DATA_MAX, `${Buffer.byteLength(text)} bytes`);
  });

test('its items are those of a set-up over ssh, in their order', () => {
  const items = itemsOf('debian-13', 'droplet', all);
  const text = userData(items, 'test');
  const positions = items.map(({ title }) => text.indexOf(`+ ${title.replaceAll("'", `'\\''`)}`));
  assert.ok(positions.every((at, i) => at > (positions[i - 1] ?? 0)));
});
