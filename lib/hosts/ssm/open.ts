import type { InstanceInformation, SSMClient } from '@aws-sdk/client-ssm';
import { ssmClient } from '../../aws.ts';
import { awsFailure } from '../../aws-failure.ts';
import { checkAll, Failure } from '../../failure.ts';
import type { HostOptions } from '../../host.ts';
import { selectedBySsm, type Target } from '../../target.ts';
import { type SsmHost, ssmHost } from './host.ts';

/**
 * The instances of a target, each of which SSM says it can reach.
 * @param absent is given those that it cannot; what it throws is thrown
 * @throws Failure when there is none; Problems that name each that cannot be reached
 */
export async function openSsm(
  target: Extract<Target, { kind: 'ssm' }>,
  region: string | undefined,
  options: HostOptions,
  absent: (name: string, failure: Failure) => unknown,
): Promise<SsmHost[]> {
  const client = await ssmClient(region);
  const [Key, value] =
    'tag' in target ? [`tag:${target.tag}`, target.value] : ['InstanceIds', target.instance];
  const uri = `ssm://${selectedBySsm(target)}`;
  const found = await instances(client, { Key, Values: [value] }, uri);
  if (found.length === 0)
    throw new Failure(`${uri} matches no instance that is registered with SSM`, {
      next: 'see that it runs, that its role has AmazonSSMManagedInstanceCore, and that AWS_REGION is right',
    });
  const online: InstanceInformation[] = [];
  await checkAll(
    found.map((instance) => () => {
      const failure = absence(instance);
      if (failure) absent(nameOf(instance), failure);
      else online.push(instance);
    }),
  );
  return online
    .map((instance) => ssmHost(instance.InstanceId ?? '', nameOf(instance), client, options))
    .sort((a, b) => a.name.localeCompare(b.name));
}

const nameOf = ({ InstanceId = '', ComputerName }: InstanceInformation) =>
  ComputerName?.split('.')[0] || InstanceId;

async function instances(
  client: SSMClient,
  filter: { Key: string; Values: string[] },
  uri: string,
): Promise<InstanceInformation[]> {
  const { paginateDescribeInstanceInformation } = await import('@aws-sdk/client-ssm');
  const found: InstanceInformation[] = [];
  try {
    for await (const page of paginateDescribeInstanceInformation({ client }, { Filters: [filter] }))
      found.push(...(page.InstanceInformationList ?? []));
  } catch (error) {
    throw awsFailure(error, 'ssm:DescribeInstanceInformation', uri);
  }
  return found;
}

function absence({ InstanceId, PingStatus, LastPingDateTime }: InstanceInformation): Failure | undefined {
  if (PingStatus === 'Online') return undefined;
  const since = LastPingDateTime ? ` since ${LastPingDateTime.toISOString()}` : '';
  return new Failure(`${InstanceId} does not answer SSM (${PingStatus}${since})`, {
    next: 'see that it runs and that its agent does, or name the others with --target',
  });
}
