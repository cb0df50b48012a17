import { AwsError, invalid } from '../errors.ts';
import type { Instance } from '../instances.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { page } from './list.ts';
import { isOnline, managedNodes } from './nodes.ts';

interface Input {
  Filters?: { Key: string; Values: string[] }[];
  InstanceInformationFilterList?: { key: string; valueSet: string[] }[];
  MaxResults?: number;
  NextToken?: string;
}

function informationJson(node: Instance, state: State): Record<string, unknown> {
  return {
    InstanceId: node.id,
    PingStatus: isOnline(node, state) ? 'Online' : 'ConnectionLost',
    LastPingDateTime: Date.now() / 1000,
    AgentVersion: '3.3.2299.0',
    IsLatestVersion: true,
    PlatformType: 'Linux',
    PlatformName: 'Debian GNU/Linux',
    PlatformVersion: '13',
    ResourceType: 'EC2Instance',
    IPAddress: node.privateIp,
    ComputerName: node.name,
    SourceId: node.id,
    SourceType: 'AWS::EC2::Instance',
  };
}

function fits(node: Instance, information: Record<string, unknown>, Key: string, Values: string[]): boolean {
  if (Key.startsWith('tag:')) return Values.includes(node.tags[Key.slice('tag:'.length)] ?? '\0');
  if (Key === 'tag-key') return Values.some((key) => key in node.tags);
  const field = { InstanceIds: 'InstanceId', PlatformTypes: 'PlatformType' }[Key] ?? Key;
  if (!(field in information)) throw new AwsError('InvalidFilterKey', `The filter key ${Key} is not valid.`);
  return Values.includes(String(information[field]));
}

/** Managed nodes, also those that are out of reach; one that is stopped has lost its connection. */
export const describeInstanceInformation: Operation = {
  async run(input: Input, state) {
    if ((input.MaxResults ?? 5) < 5)
      throw invalid('maxResults', input.MaxResults, 'Member must have value greater than or equal to 5');
    const old = (input.InstanceInformationFilterList ?? []).map(({ key, valueSet }) => ({
      Key: key,
      Values: valueSet,
    }));
    const filters = [...(input.Filters ?? []), ...old];
    const all = (await managedNodes(state))
      .map((node) => ({ node, information: informationJson(node, state) }))
      .filter(({ node, information }) =>
        filters.every(({ Key, Values }) => fits(node, information, Key, Values)),
      )
      .map(({ information }) => information);
    const { items, ...token } = page(all, input);
    return { InstanceInformationList: items, ...token };
  },
};
