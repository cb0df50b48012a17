/*
 * A service of the tests in the sandbox's AWS: `service.ts up NAME IMAGE VPC SUBNET SUBNET`, printing what a test needs to know of it;
 * `service.ts reset NAME`, `service.ts down NAME`. Calls are made as the sandbox's admin, by the SDK.
 */
import { CloudWatchLogsClient, CreateLogGroupCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  CreateClusterCommand,
  CreateServiceCommand,
  DeleteServiceCommand,
  DescribeServicesCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { waitFor } from '../../sandbox/wait.ts';
import { world } from '../../sandbox/world.ts';
import { balancer, removeBalancer } from '../balancer.ts';

const { aws } = await world();
const config = { endpoint: aws.url, region: 'eu-north-1', credentials: aws.users.admin! };
const ecs = new ECSClient(config);
const [action, name = 'shop', image = '', vpc = '', ...subnets] = process.argv.slice(2);

/** The first revision, as someone wrote it by hand: the image by its tag. */
async function register(): Promise<string> {
  await new CloudWatchLogsClient(config).send(new CreateLogGroupCommand({ logGroupName: `/ecs/${name}` }));
  const { ARN } = await new SecretsManagerClient(config).send(
    new CreateSecretCommand({ Name: `${name}/production`, SecretString: '{"GREETING":"hello"}' }),
  );
  const { taskDefinition } = await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: name,
      networkMode: 'awsvpc',
      requiresCompatibilities: ['FARGATE'],
      cpu: '256',
      memory: '512',
      executionRoleArn: 'arn:aws:iam::123456789012:role/execution',
      containerDefinitions: [
        {
          name: 'web',
          image,
          portMappings: [{ containerPort: 8000 }],
          secrets: [{ name: 'GREETING', valueFrom: `${ARN}:GREETING::` }],
          stopTimeout: 60,
          healthCheck: {
            ...{ command: ['CMD-SHELL', 'curl -fsS http://127.0.0.1:8000/health'] },
            ...{ interval: 20, retries: 2, timeout: 5, startPeriod: 60 },
          },
          logConfiguration: {
            logDriver: 'awslogs',
            options: {
              'awslogs-group': `/ecs/${name}`,
              'awslogs-region': 'eu-north-1',
              'awslogs-stream-prefix': 'ecs',
            },
          },
        },
      ],
    }),
  );
  return taskDefinition!.taskDefinitionArn!;
}

async function up(): Promise<void> {
  const { arn: targetGroupArn, url } = await balancer(name, 'ip', vpc, subnets);
  const taskDefinition = await register();
  await ecs.send(new CreateClusterCommand({ clusterName: 'shops' }));
  await ecs.send(
    new CreateServiceCommand({
      ...{ cluster: 'shops', serviceName: name, taskDefinition, desiredCount: 2, launchType: 'FARGATE' },
      loadBalancers: [{ targetGroupArn, containerName: 'web', containerPort: 8000 }],
      networkConfiguration: { awsvpcConfiguration: { subnets, assignPublicIp: 'DISABLED' } },
      healthCheckGracePeriodSeconds: 60,
    }),
  );
  await steady();
  process.stdout.write(`export APP_URL=${url} TARGET_GROUP=${targetGroupArn}\n`);
}

/** Waits until the service's only deployment is complete. */
async function steady(): Promise<void> {
  await waitFor(`${name} to be steady`, 180, async () => {
    const { services } = await ecs.send(new DescribeServicesCommand({ cluster: 'shops', services: [name] }));
    const [primary, ...others] = services?.[0]?.deployments ?? [];
    return others.length === 0 && primary?.rolloutState === 'COMPLETED';
  });
}

/** Back to the first revision, with nothing else going on. */
async function reset(): Promise<void> {
  const { services } = await ecs.send(new DescribeServicesCommand({ cluster: 'shops', services: [name] }));
  const first = `${name}:1`;
  const [primary, ...others] = services?.[0]?.deployments ?? [];
  const isFirst = primary?.taskDefinition?.endsWith(`/${first}`) && primary.rolloutState !== 'FAILED';
  if (isFirst && others.length === 0) return;
  const deploymentConfiguration = { minimumHealthyPercent: 100, maximumPercent: 200 };
  if (!isFirst)
    await ecs.send(
      new UpdateServiceCommand({
        ...{
          cluster: 'shops',
          service: name,
          taskDefinition: first,
          desiredCount: 2,
          deploymentConfiguration,
        },
      }),
    );
  await steady();
}

async function down(): Promise<void> {
  await ecs.send(new DeleteServiceCommand({ cluster: 'shops', service: name, force: true }));
  await removeBalancer(name);
}

if (action === 'up') await up();
else if (action === 'reset') await reset();
else await down();
