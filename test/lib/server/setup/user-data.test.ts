import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { Problems } from '../../../../lib/failure.ts';
import { Report } from '../../../../lib/output.ts';
import { Secret } from '../../../../lib/secret.ts';
import { setUp } from '../../../../lib/server/setup.ts';
import { systemNamed, systemNames } from '../../../../lib/server/setup-facts.ts';
import { USER_DATA_MAX, userData } from '../../../../lib/server/setup-plan.ts';
import { recorder } from '../../kit.ts';
import { itemsOf, settings } from './kit.ts';

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

test('V1: user data that would be printed with holes is refused: the first boot could not clone with it', async () => {
  const secret = new Secret('cloned-by-nobody-else');
  const printed = async (more: Parameters<typeof settings>[0]) => {
    let text = '';
    const report = new Report(recorder(), (part) => {
      text += part;
    });
    const context = { settings: settings(more), report } as Parameters<typeof setUp>[1];
    await setUp('droplet', context, systemNamed('debian-13'));
    return text;
  };
  const fine = {
    OPSBOOK_REPOSITORY: 'ssh://git@example.org/opsbook.git',
    APP_REPOSITORY: 'git@example.org:a/b',
  };
  assert.ok((await printed(fine)).includes(fine.OPSBOOK_REPOSITORY));
  const refused = async (more: Parameters<typeof settings>[0]) =>
    printed({ ...fine, ...more }).then(assert.fail, (error: unknown) => error as Problems);
  const both = await refused({
    OPSBOOK_REPOSITORY: 'https://x-access-token:ghs_abc@github.com/a/opsbook',
    APP_REPOSITORY: 'https://0123456789abcdef0123@github.com/a/b',
  });
  assert.equal(both.exit, 2);
  assert.deepEqual(
    both.problems.map(({ message }) => message),
    [
      'OPSBOOK_REPOSITORY has a password or a token in it, which user data must not have',
      'APP_REPOSITORY has a password or a token in it, which user data must not have',
    ],
  );
  const place = await refused({ APP_DIRECTORIES: [secret.reveal()] });
  assert.deepEqual(
    [place.exit, place.message],
    [2, 'user data would have a secret of this environment in it'],
  );
});
