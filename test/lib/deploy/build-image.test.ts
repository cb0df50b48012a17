import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandFailure, cmd, wordsOf } from '../../../lib/command.ts';
import { type Host, shellOf } from '../../../lib/shell.ts';
import {
  buildCommand,
  push,
  refuseOtherPlatform,
  refusePlatform,
} from '../../../scripts/deploy/build-image.ts';

const build = { image: { registry: 'registry.example.org', repository: 'app' }, context: 'backend' };
const identity = {
  ...{ commit: 'c0ffee', created: '2026-01-31T12:00:00Z', version: '1.2.0', dirty: false },
  tags: ['1.2.0', 'c0ffee'] as const,
};
const labels = ['version=1.2.0', 'revision=c0ffee', 'created=2026-01-31T12:00:00Z'].flatMap((label) => [
  ...['--label', `org.opencontainers.image.${label}`],
]);

test('with buildx an image is built for its platform, loaded, and without an attestation around it', () => {
  assert.deepEqual(wordsOf(buildCommand(cmd, build, identity, { buildx: true }, 'linux/arm64')), [
    ...['docker', 'buildx', 'build', '--load', '--provenance=false', '--progress=plain'],
    ...[
      '--platform',
      'linux/arm64',
      '--build-arg',
      'VERSION=1.2.0',
      '--build-arg',
      'COMMIT=c0ffee',
      ...labels,
    ],
    ...['--tag', 'registry.example.org/app:1.2.0', '--tag', 'registry.example.org/app:c0ffee', 'backend'],
  ]);
});

test('with buildx another platform than that of the engine can be built for, without it not', () => {
  const platform = 'linux/amd64';
  refusePlatform({ buildx: true, platform }, 'linux/arm64');
  refusePlatform({ buildx: false, platform }, platform);
  assert.throws(
    () => refusePlatform({ buildx: false, platform }, 'linux/arm64'),
    /builds for linux\/amd64 alone/,
  );
});

/** A host on which each command is answered by the next of these, which is thrown if it is an error. */
const answering = (...answers: Array<string | Error>): Host => {
  const run = async () => {
    const next = answers.shift();
    if (next instanceof Error) throw next;
    return next ?? '';
  };
  return { run, $: shellOf(run) } as unknown as Host;
};

test("✗ an image that its base made one of another platform than the target's is refused", async () => {
  await refuseOtherPlatform(answering('linux/arm\n'), 'app:1', 'linux/arm/v7');
  await assert.rejects(
    refuseOtherPlatform(answering('linux/arm64\n'), 'app:1', 'linux/amd64'),
    /app:1 was built for linux\/arm64, the target runs linux\/amd64/,
  );
});

const PUSH = cmd`docker push app:1.2.0`;
const digest = `sha256:${'ab'.repeat(32)}`;
const told = `1.2.0: digest: ${digest} size: 528\n`;
const failed = (stderr: string) =>
  new CommandFailure({
    command: PUSH,
    words: stderr,
    code: 1,
    how: 'exited with 1',
    stderr,
  });
const expired = failed('denied: Your authorization token has expired. Reauthenticate and try again.');

test('a login that expires is made again once; one that expires again is a failure', async () => {
  let logins = 0;
  const again = async () => ++logins > 0;
  assert.equal(await push(answering(expired, told), PUSH, again), digest);
  assert.equal(logins, 1);
  await assert.rejects(push(answering(expired, expired, told), PUSH, again), /the login has expired/);
  assert.equal(logins, 2);
});

const refusals: Record<string, RegExp> = {
  "tag invalid: The image tag '1.2.0' already exists in the 'app' repository and cannot be overwritten because the repository is immutable.":
    /the tag is another image already/,
  "name unknown: The repository with name 'app' does not exist in the registry with id '123456789012'":
    /there is no such repository/,
  'denied: User: arn:aws:sts::1:assumed-role/ci is not authorized to perform: ecr:InitiateLayerUpload':
    /these credentials may not push/,
  'dial tcp 127.0.0.1:9: connect: connection refused': /the registry does not answer/,
  'something else': /failed: something else/,
};

for (const [stderr, what] of Object.entries(refusals)) {
  test(`a push that ends with "${stderr.slice(0, 40)}…" says what it is`, async () => {
    await assert.rejects(
      push(answering(failed(stderr)), PUSH, async () => true),
      what,
    );
  });
}
