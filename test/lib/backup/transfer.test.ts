import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { decrypter, encrypter, type Flow, measured } from '../../../lib/backup/encryption.ts';
import { feed, outputOf, unzstd, zstd } from '../../../lib/backup/transfer.ts';
import { cmd } from '../../../lib/command.ts';
import { localHost } from '../../../lib/hosts.ts';
import { Secret } from '../../../lib/secret.ts';

const host = localHost();
const sh = (script: string) => host.start(cmd`sh -c ${script}`);

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const whole = async (flow: Flow) => Buffer.concat(await Array.fromAsync(flow));

test('a stream of some megabytes is encrypted and decrypted, whatever its chunks', async () => {
  const identity = await generateIdentity();
  const { encrypt, encryptBytes, suffix } = await encrypter(await identityToRecipient(identity));
  const { decrypt } = decrypter(new Secret(identity));
  const bytes = randomBytes(3_000_001);
  for (const size of [1_000, 65_536, 3_000_001]) {
    const encrypted = await whole(await encrypt(chunks(bytes, size)));
    assert.equal(encrypted.subarray(0, 21).toString(), 'age-encryption.org/v1');
    assert.ok(bytes.equals(await whole(await decrypt(chunks(encrypted, 70_001), `x${suffix}`))));
  }
  const small = await encryptBytes(Buffer.from(''));
  assert.equal((await whole(await decrypt(chunks(Buffer.from(small), 10), 'x.age'))).length, 0);
});

test('without a recipient nothing is encrypted, and what is not encrypted is passed through', async () => {
  const { encrypt, suffix, recipient } = await encrypter(undefined);
  assert.deepEqual([suffix, recipient], ['', null]);
  assert.equal((await whole(await encrypt(chunks(Buffer.from('plain'), 2)))).toString(), 'plain');
  const { decrypt } = decrypter(undefined);
  assert.equal((await whole(await decrypt(chunks(Buffer.from('plain'), 2), 'x.dump'))).toString(), 'plain');
});

test('no identity and a wrong one are told, each with the setting', async () => {
  const { encrypt } = await encrypter(await identityToRecipient(await generateIdentity()));
  const encrypted = await whole(await encrypt(chunks(Buffer.from('secret'), 6)));
  const none = decrypter(undefined);
  await assert.rejects(none.decrypt(chunks(encrypted, 9), 'x.age'), /x.age is encrypted/);
  const other = decrypter(new Secret(await generateIdentity()));
  await assert.rejects(
    other.decrypt(chunks(encrypted, 9), 'x.age'),
    (error: { message: string; exit: number; next: string }) =>
      /another key than BACKUP_IDENTITY_FILE/.test(error.message) &&
      error.exit === 2 &&
      /BACKUP_IDENTITY_FILE/.test(error.next),
  );
});

test('encrypted bytes that were changed or cut are refused', async () => {
  const identity = await generateIdentity();
  const { encrypt } = await encrypter(await identityToRecipient(identity));
  const { decrypt } = decrypter(new Secret(identity));
  const encrypted = await whole(await encrypt(chunks(randomBytes(200_000), 65_536)));
  const changed = Buffer.from(encrypted);
  changed[150_000] = (changed[150_000] ?? 0) ^ 1;
  for (const broken of [changed, encrypted.subarray(0, 150_000), encrypted.subarray(0, encrypted.length - 1)])
    await assert.rejects(async () => whole(await decrypt(chunks(broken, 65_536), 'x.age')));
});

test('a measure is there when the flow has ended, not before', async () => {
  const { flow, result } = measured(chunks(Buffer.from('abc'), 1));
  assert.throws(result, /before the flow ended/);
  await whole(flow);
  assert.deepEqual(result(), {
    bytes: 3,
    sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  });
});

test('zstd there and back; what is cut or no zstd is refused', async () => {
  const bytes = randomBytes(500_000);
  const packed = await whole(zstd(chunks(bytes, 1_000)));
  assert.ok(bytes.equals(await whole(unzstd(chunks(packed, 777)))));
  for (const broken of [packed.subarray(0, 400_000), Buffer.from('no zstd at all')])
    await assert.rejects(whole(unzstd(chunks(broken, 65_536))));
});

test('A3: bytes behind the end of what was compressed or encrypted are not passed over', async () => {
  let checked = false;
  // The reader of a store finds at the end that the bytes are others: it has to be asked to the end.
  async function* forged(bytes: Buffer): AsyncGenerator<Uint8Array> {
    yield Buffer.concat([bytes, randomBytes(70_000)]);
    for (let i = 0; i < 100; i += 1) yield randomBytes(70_000);
    checked = true;
  }
  const packed = await whole(zstd(chunks(Buffer.from('forged'), 6)));
  await assert.rejects(whole(unzstd(forged(packed))), /bytes behind the end|frame/);
  assert.equal(checked, false);
  const identity = await generateIdentity();
  const { encrypt } = await encrypter(await identityToRecipient(identity));
  const { decrypt } = decrypter(new Secret(identity));
  const encrypted = await whole(await encrypt(chunks(Buffer.from('forged'), 6)));
  await assert.rejects(async () => whole(await decrypt(forged(encrypted), 'x.age')), /invalid tag/);
});

test('the output of a command ends well only when the command did', async () => {
  assert.equal((await whole(outputOf(sh('printf all')))).toString(), 'all');
  await assert.rejects(
    whole(outputOf(sh('printf half; echo "out of luck" >&2; exit 3'))),
    /sh exited with 3: out of luck/,
  );
  await assert.rejects(whole(outputOf(sh('printf half; kill -9 $$'))), /killed by SIGKILL/);
});

test('a command whose output nobody wants any more is ended', async () => {
  const running = sh('echo $$; exec yes');
  for await (const chunk of outputOf(running)) {
    const pid = Number(/^\d+/.exec(Buffer.from(chunk).toString())?.[0]);
    assert.ok(pid > 0);
    break;
  }
  await assert.rejects(running.done);
});

test('feeding a command tells its own words, or those of the flow', async () => {
  await feed(chunks(randomBytes(300_000), 65_536), sh('[ "$(wc -c)" = 300000 ]'));
  await assert.rejects(
    feed(chunks(randomBytes(3_000_000), 65_536), sh('echo "no space left" >&2; exit 1')),
    /sh exited with 1: no space left/,
  );
  await assert.rejects(feed(chunks(Buffer.from('x'), 1), sh('cat >/dev/null; exit 4')), /exited with 4/);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('half');
    throw new Error('the store is gone');
  }
  const reading = sh('cat');
  await assert.rejects(feed(broken(), reading), /the store is gone/);
  // It ends, one way or the other: whether our signal or the end of its input is first is not ours to say.
  await reading.done.catch(() => {});
});
