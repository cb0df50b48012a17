import { createHash } from 'node:crypto';
import { insideUrl, region } from '../cloud/aws.ts';
import { docker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName, SandboxError } from '../names.ts';
import { readState } from '../state.ts';

/** IAM user whose keys stand in for the credentials of an instance's role. */
const roleUser = 'instance-role';

/** The id of a host as an EC2 instance; it looks as AWS's do, and stays the same when the host is made again. */
export function instanceId(host: string): string {
  const hash = createHash('sha256').update(containerName(host)).digest('hex');
  return `i-0${hash.slice(0, 16)}`;
}

/** Labels by which AWS's front knows a container for an EC2 instance (cloud/front/instances.ts). */
export function instanceLabels(host: string, tags: Record<string, string>): string[] {
  const tagged = JSON.stringify(tags);
  return ['--label', `opsbook.instance=${instanceId(host)}`, '--label', `opsbook.instance-tags=${tagged}`];
}

/**
 * Lets root on a host act in its instance's role. On EC2 the credentials come from the metadata service; here they are
 * in the files that the SDKs and the AWS CLI look into before they ask it.
 */
export async function giveRole(engine: Engine, container: string): Promise<void> {
  const keys = readState().awsUsers?.[roleUser];
  if (!keys)
    throw new SandboxError(`this sandbox is older than its role ${roleUser}: bring it down, and up again`);
  const config = `[default]\nregion = ${region}\nendpoint_url = ${insideUrl}\n`;
  const credentials = `[default]\naws_access_key_id = ${keys.accessKeyId}\naws_secret_access_key = ${keys.secretAccessKey}\n`;
  const write = 'umask 077; mkdir -p /root/.aws; cat >"/root/.aws/$1"';
  const file = (name: string, text: string): Promise<string> =>
    docker(engine, ['exec', '--interactive', container, 'sh', '-c', write, 'sh', name], text);
  await file('config', config);
  await file('credentials', credentials);
}
