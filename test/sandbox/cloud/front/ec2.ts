import { AwsError } from './errors.ts';
import { type Instance, instances } from './instances.ts';
import { escapeXml } from './protocol.ts';
import type { Input, Service } from './service.ts';
import type { State } from './state.ts';

/** `Filter.1.Value.2=…` of the query protocol: the values below a dotted prefix, in order. */
function list(input: Input, prefix: string): string[] {
  return Object.keys(input)
    .filter((name) => name.startsWith(`${prefix}.`) && /^\d+$/.test(name.slice(prefix.length + 1)))
    .sort((a, b) => Number(a.split('.').at(-1)) - Number(b.split('.').at(-1)))
    .map((name) => String(input[name]));
}

const stateOf = ({ running }: Instance): [number, string] => (running ? [16, 'running'] : [80, 'stopped']);

function fieldOf(instance: Instance, name: string): string[] {
  if (name.startsWith('tag:')) return [instance.tags[name.slice(4)] ?? []].flat();
  const fields: Record<string, string[]> = {
    'instance-id': [instance.id],
    'instance-state-name': [stateOf(instance)[1]],
    'private-ip-address': [instance.privateIp],
    'tag-key': Object.keys(instance.tags),
  };
  const found = fields[name];
  if (!found) throw new AwsError('InvalidParameterValue', `The filter '${name}' is invalid`);
  return found;
}

/** A filter's value may hold `*` and `?`. */
function matches(value: string, pattern: string): boolean {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's').test(value);
}

function chosen(input: Input, all: Instance[]): Instance[] {
  const ids = list(input, 'InstanceId');
  const unknown = ids.filter((id) => !all.some((one) => one.id === id));
  if (unknown.length > 0) {
    const text = `The instance ID '${unknown.join(', ')}' does not exist`;
    throw new AwsError('InvalidInstanceID.NotFound', text);
  }
  const filters = Object.keys(input).filter((name) => /^Filter\.\d+\.Name$/.test(name));
  return all
    .filter(({ id }) => ids.length === 0 || ids.includes(id))
    .filter((one) =>
      filters.every((name) => {
        const patterns = list(input, name.replace(/Name$/, 'Value'));
        const values = fieldOf(one, String(input[name]));
        return values.some((value) => patterns.some((pattern) => matches(value, pattern)));
      }),
    );
}

function instanceXml(instance: Instance, { region }: State): string {
  const [code, name] = stateOf(instance);
  const tags = Object.entries(instance.tags).map(
    ([key, value]) => `<item><key>${escapeXml(key)}</key><value>${escapeXml(value)}</value></item>`,
  );
  const address = instance.running ? `<privateIpAddress>${instance.privateIp}</privateIpAddress>` : '';
  return `<item><reservationId>r-${instance.id.slice(2)}</reservationId><instancesSet><item>
<instanceId>${instance.id}</instanceId><instanceState><code>${code}</code><name>${name}</name></instanceState>
<instanceType>t3.small</instanceType><architecture>${process.arch === 'arm64' ? 'arm64' : 'x86_64'}</architecture>
<launchTime>${instance.launched.toISOString()}</launchTime>
<placement><availabilityZone>${region}a</availabilityZone></placement>${address}
<tagSet>${tags.join('')}</tagSet></item></instancesSet></item>`;
}

async function describe(input: Input, state: State): Promise<string> {
  const found = chosen(input, await instances());
  return `<reservationSet>${found.map((one) => instanceXml(one, state)).join('')}</reservationSet>`;
}

/** DescribeInstances knows the sandbox's hosts; what else EC2 has is moto's. */
export const ec2: Service = {
  protocol: 'ec2',
  xmlns: 'http://ec2.amazonaws.com/doc/2016-11-15/',
  operations: { DescribeInstances: { run: describe } },
};
