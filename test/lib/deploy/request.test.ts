import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestOf } from '../../../lib/deploy/request.ts';
import { parseImage } from '../../../lib/deploy/settings.ts';
import { EXIT, Failure } from '../../../lib/failure.ts';

const names = [parseImage('registry.example.org/shop/web')];
const two = [...names, parseImage('registry.example.org/shop/ssr')];
const usage = (pattern: RegExp) => (error: unknown) =>
  error instanceof Failure && error.exit === EXIT.usage && pattern.test(error.message);

test('a version is the tag of each image', () => {
  assert.deepEqual(requestOf({ version: '1.2.0' }, two), {
    version: '1.2.0',
    images: two.map((image) => ({ ...image, tag: '1.2.0' })),
  });
});

test('an image by its digest is called after it', () => {
  const digest = `sha256:${'ab'.repeat(32)}`;
  const wanted = requestOf({ images: [`registry.example.org/shop/web@${digest}`] }, names);
  assert.equal('version' in wanted && wanted.version, 'abababababab');
});

test('✗ always :latest: a tag that moves with each build is refused', () => {
  assert.throws(() => requestOf({ version: 'latest' }, names), usage(/another image after each build/));
  assert.throws(
    () => requestOf({ images: ['registry.example.org/shop/web'] }, names),
    usage(/:latest is another/),
  );
  assert.throws(
    () => requestOf({ images: ['registry.example.org/shop/web:latest'] }, names),
    usage(/another image/),
  );
});

for (const [what, named, pattern] of [
  ['nothing', {}, /nothing to deploy is named/],
  ['a version and a commit', { version: '1', commit: 'abc' }, /cannot be deployed together/],
  ['what no tag can be', { version: '1.0.0+build' }, /cannot be the tag/],
  ['an image that is not one of IMAGE', { images: ['shop/web:1'] }, /is not one of IMAGE/],
  ['one image of two', { images: ['registry.example.org/shop/web:1'] }, /no --image for .*ssr/],
] as const)
  test(`refused: ${what}`, () => {
    assert.throws(() => requestOf(named, what === 'one image of two' ? two : names), usage(pattern));
  });
