/*
 * The load balancer of a test's fleet: `fleet.ts up NAME VPC SUBNET SUBNET INSTANCE…`, printing what a test needs to know;
 * `fleet.ts down NAME`.
 */
import { RegisterTargetsCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import { balancer, elbClient, removeBalancer } from '../balancer.ts';

const [action, name = 'hermes', vpc = '', one = '', two = '', ...instances] = process.argv.slice(2);

async function up(): Promise<void> {
  const { arn, url } = await balancer(name, 'instance', vpc, [one, two]);
  const client = await elbClient();
  const Targets = instances.map((Id) => ({ Id, Port: 8000 }));
  await client.send(new RegisterTargetsCommand({ TargetGroupArn: arn, Targets }));
  process.stdout.write(`export APP_URL=${url} TARGET_GROUP_ARN=${arn}\n`);
}

if (action === 'up') await up();
else await removeBalancer(name);
