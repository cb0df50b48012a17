import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../lib/secret.ts';
import {
  askedFor,
  fill,
  generators,
  makeFile,
  parseTemplate,
  reveal,
} from '../../../lib/server/env-template.ts';
import type { Secrets } from '../../../lib/server/secret-stores.ts';

const filled = (text: string, values: Record<string, string>) => {
  const secrets = new Map(Object.entries(values).map(([name, value]) => [name, new Secret(value)]));
  const entries = [...fill(parseTemplate(text, 'T'), secrets)];
  return Object.fromEntries(entries.map(([name, value]) => [name, reveal(value)]));
};

test('a name is the secret on its own line, and the line of that name elsewhere', () => {
  const text = 'USER=app\nPASSWORD=${PASSWORD}\nURL=x://${USER}:${PASSWORD|urlencode}@${HOST}/${USER}';
  assert.deepEqual(filled(text, { PASSWORD: "a/b'", HOST: 'h', USER: 'no' }), {
    ...{ USER: 'app', PASSWORD: "a/b'", URL: 'x://app:a%2Fb%27@h/app' },
  });
  const { all, needed } = askedFor(parseTemplate(`${text}\nMODE=\${MODE:-fast}`, 'T'));
  assert.deepEqual(
    [[...all].sort(), [...needed].sort()],
    [
      ['HOST', 'MODE', 'PASSWORD'],
      ['HOST', 'PASSWORD'],
    ],
  );
});

test('nothing but ${…} means anything', () => {
  const text = 'A=$X $$ \\n `b` %20 {c} #d';
  assert.throws(() => parseTemplate(text, 'T'), {
    message: 'T, line 1: A: a comment needs a line of its own',
  });
  assert.deepEqual(filled('A=$X $$ \\n `b` %20 {c}#d', {}), { A: '$X $$ \\n `b` %20 {c}#d' });
});

test('what is made of a secret is one, and what is not is not', () => {
  const entries = fill(parseTemplate('A=${S}-x\nB=plain', 'T'), new Map([['S', new Secret('hush-hush')]]));
  assert.equal(String(entries.get('A')), '[redacted]');
  assert.equal(String(entries.get('B')), 'plain');
});

test('lines that refer to each other in a circle are refused', () => {
  assert.throws(() => filled('A=${B}\nB=${C}\nC=${A}', {}), {
    message: 'the template goes in a circle: A → B → C → A',
    exit: 2,
  });
});

test('a generated secret is asked of the store as any other', () => {
  const template = parseTemplate('KEY=${generate:base64url:32}\nURL=x:${KEY}', 'T');
  assert.deepEqual([...generators(template)], [['KEY', { encoding: 'base64url', bytes: 32 }]]);
  assert.deepEqual([...askedFor(template).needed], ['KEY']);
});

test('H10: a default with another name in it is refused, where half of it would be the value', () => {
  for (const text of ['A=${B:-${C}}', 'A=x${B:-a${C}b}', 'A=${B:-${C:-d}}'])
    assert.throws(() => parseTemplate(text, 'T'), {
      message: /^T, line 1: A: \$\{B:-.* is not \$\{NAME\}/,
      exit: 2,
    });
  assert.deepEqual(filled('A=${B:-$x{y}', {}), { A: '$x{y' });
});

const stored = {
  ...{ stores: [], home: new Map(), unfit: new Map() },
  values: new Map([['PASSWORD', new Secret('swordfish')]]),
} as unknown as Secrets;
const file = {
  ...{ path: '/opt/app/.env', text: '', open: false },
  entries: new Map([
    ['COMPOSE_FILE', 'docker-compose.yml:.opsbook/deployed.yml'],
    ['OLD', 'unknown'],
  ]),
};

test('what only the old file has is kept, and with --prune removed', () => {
  assert.deepEqual(makeFile(file, undefined, stored).kept, ['COMPOSE_FILE', 'OLD']);
  assert.doesNotMatch(makeFile(file, undefined, stored, true).text, /^OLD=/m);
});

test('the line by which Compose finds the version that was deployed outlives --prune', () => {
  const { kept, text } = makeFile(file, undefined, stored, true);
  assert.deepEqual(kept, ['COMPOSE_FILE']);
  assert.match(text, /^COMPOSE_FILE=.*deployed\.yml/m);
});
