/*
 * The load balancer of a test's fleet: `fleet.ts NAME VPC SUBNET SUBNET INSTANCE…`, printing what a test needs to know.
 */
import {
  ElasticLoadBalancingV2Client,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { world } from '../../sandbox/world.ts';
import { balancer } from '../balancer.ts';

const [name = 'hermes', vpc = '', one = '', two = '', ...instances] = process.argv.slice(2);
const { arn, url } = await balancer(name, 'instance', vpc, [one, two]);
const { aws } = await world();
const client = new ElasticLoadBalancingV2Client({
  ...{ endpoint: aws.url, region: 'eu-north-1', credentials: aws.users.admin! },
});
const Targets = instances.map((Id) => ({ Id, Port: 8000 }));
await client.send(new RegisterTargetsCommand({ TargetGroupArn: arn, Targets }));
process.stdout.write(`export APP_URL=${url} TARGET_GROUP_ARN=${arn}\n`);
