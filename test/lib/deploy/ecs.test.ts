import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { DeploymentRecord } from '../../../lib/deploy/deployment.ts';
import {
  type EcsApp,
  nextRevision,
  recordsIn,
  recordTag,
  releaseTags,
} from '../../../lib/deploy/ecs-service.ts';
import { deploymentTimeout, updateInput } from '../../../lib/deploy/ecs-switch.ts';

const images = { web: { reference: `shop@sha256:${'a'.repeat(64)}`, id: `sha256:${'a'.repeat(64)}` } };

const record: DeploymentRecord = {
  ...{ version: '1.4.0', commit: 'c0ffee1', images, revision: 'shop:7', at: '2026-11-21T07:31:54.123Z' },
  ...{ did: 'update', who: 'ops@laptop', from: '1.3.0', migrated: true, backup: '20261121-073100' },
  ...{ verified: false, failed: 'web: exit code 7', returnedTo: '1.3.0', ms: 5300 },
};

const tagged = (one: DeploymentRecord): Record<string, string> =>
  Object.fromEntries(
    [...releaseTags(one, one.who), recordTag(one)].map(({ key = '', value = '' }) => [key, value]),
  );

test('a record is read from the tags as it was written', () => {
  assert.deepEqual(recordsIn(tagged(record), images, 'shop:7'), [record]);
});

test('what ECS does not take in a tag becomes a blank, and what is too long is cut', () => {
  const failed = `task "web" failed: (code 7), {"a": 1}; ${'x'.repeat(400)}`;
  const { key = '', value = '' } = recordTag({ ...record, failed });
  assert.match(key + value, /^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$/u);
  assert.ok(value.length <= 256);
  assert.match(value, / failed=task web failed: code 7 /);
});

test('the next revision has what the current one has, but for images and what only ECS may write', () => {
  const container = { name: 'web', image: 'shop:latest', essential: true };
  const next = nextRevision(
    {
      ...{ family: 'shop', cpu: '256', taskRoleArn: 'arn:aws:iam::1:role/task', revision: 7 },
      ...{ status: 'ACTIVE', taskDefinitionArn: 'arn:aws:ecs:x:1:task-definition/shop:7' },
      ...{ registeredAt: new Date(), registeredBy: 'someone', deregisteredAt: new Date() },
      ...{ compatibilities: ['FARGATE'], requiresAttributes: [] },
      containerDefinitions: [container, { name: 'proxy', image: 'nginx:1.26' }],
    },
    images,
    [],
  );
  assert.deepEqual(next, {
    ...{ family: 'shop', cpu: '256', taskRoleArn: 'arn:aws:iam::1:role/task', tags: [] },
    containerDefinitions: [
      { ...container, image: images.web.reference },
      { name: 'proxy', image: 'nginx:1.26' },
    ],
  });
});

test('the update turns the circuit breaker on, and sends along what else was configured', () => {
  const deploymentConfiguration = {
    ...{ minimumHealthyPercent: 50, maximumPercent: 150, bakeTimeInMinutes: 2 },
    deploymentCircuitBreaker: { enable: false, rollback: false, resetOnHealthyTask: false },
  };
  const input = updateInput({ clusterArn: 'c', serviceName: 's', deploymentConfiguration }, 'shop:8');
  assert.deepEqual(input.deploymentConfiguration, {
    ...deploymentConfiguration,
    deploymentCircuitBreaker: { enable: true, rollback: true, resetOnHealthyTask: false },
  });
});

test('✗ a time limit of 5 minutes, while draining alone takes 300 s (G5): the limit follows from the service', async () => {
  const attribute = '<member><Key>deregistration_delay.timeout_seconds</Key><Value>300</Value></member>';
  const xml = `<DescribeTargetGroupAttributesResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetGroupAttributesResult><Attributes>${attribute}</Attributes></DescribeTargetGroupAttributesResult></DescribeTargetGroupAttributesResponse>`;
  const server = createServer((_, response) => response.end(xml)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  Object.assign(process.env, {
    ...{ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`, AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
  });
  const app = { region: 'eu-north-1', signal: new AbortController().signal } as EcsApp;
  const service = { desiredCount: 4, loadBalancers: [{ targetGroupArn: 'arn:a:b' }] };
  const minutes = async (percents: object) =>
    (await deploymentTimeout(
      app,
      { ...service, deploymentConfiguration: percents },
      { containerDefinitions: [{}] },
      60_000,
    )) / 60_000;
  try {
    // 1 to become healthy, 5 to drain, half a minute to stop; once, or for each of four batches
    assert.equal(await minutes({}), 6.5);
    assert.equal(await minutes({ minimumHealthyPercent: 100, maximumPercent: 125 }), 26);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
