import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Member, type Rotation, rotate } from '../../../lib/deploy/fleet.ts';

const release = { version: '1.0.0', images: { web: { reference: 'shop/web:1', id: 'sha256:1' } } };

for (const [always, did] of [
  [false, []],
  [true, ['a', 'b']],
] as const)
  test(`R3: with --new-environment hosts that have the release are switched too: ${always}`, async () => {
    const switched: string[] = [];
    const members = ['a', 'b'].map((name) => ({
      ...{ host: { name }, target: { Id: name } },
      app: {
        running: async () => release,
        unfinished: async () => undefined,
        switchTo: async () => void switched.push(name),
      },
    })) as unknown as Member[];
    const targets = members.map(({ target }) => ({ Target: target, TargetHealth: { State: 'healthy' } }));
    const group = { targets: async () => targets, putIn: async () => {}, takeOut: async () => {} };
    const rotation = {
      group,
      uninterrupted: group,
      timeoutMs: 1,
      always,
      report: { info() {} },
    } as unknown as Rotation;
    await rotate(members, release, rotation, { note() {}, progress() {} });
    assert.deepEqual(switched, did);
  });
