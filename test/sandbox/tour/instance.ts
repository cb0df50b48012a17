import { region } from '../cloud/aws.ts';
import { docker } from '../machine/docker.ts';
import { SandboxError } from '../names.ts';
import type { World } from '../world.ts';
import { step, tell } from './narration.ts';
import type { Scripts } from './scripts.ts';

const APP_DIR = '/opt/drawing';
const PASSWORD = 'Correct-Horse-1';
const EMAIL = 'ada@example.org';

/** What a repository would have brought: one service, which keeps its users in a file. */
const COMPOSE = `services:
  web:
    image: sandbox/nginx:1.26
    healthcheck: { test: [CMD, test, -s, /run/nginx.pid], interval: 5s, start_interval: 200ms, start_period: 30s }
`;
const CREATE_USER =
  `sh -c 'IFS= read -r password; hash=$(printf %s "$password" | sha256sum); ` +
  `echo "$1 $hash" >>/tmp/users; echo "$1 may log in"' create-user`;

/** Another host, an EC2 instance: no port is open and nobody has a key; what is done there goes through SSM. */
export async function overSsm(world: World, scripts: Scripts): Promise<void> {
  const [instance] = world.instance;
  if (!instance) throw new SandboxError('the instance is not up');
  const target = { TARGET: `ssm://${instance.id}`, APP: 'drawing', APP_DIR, REMOTE_CREATE_USER: CREATE_USER };
  const app = scripts.with(target);
  const place = `mkdir -p ${APP_DIR} && cat >${APP_DIR}/docker-compose.yml`;
  await docker(world.engine, ['exec', '--interactive', instance.container, 'sh', '-euc', place], COMPOSE);

  await step('user data for EC2', async () => {
    const text = await scripts
      .with({ TARGET: 'local' })
      .ask('server/setup-ec2', ['--user-data', 'amzn-2023']);
    process.stdout.write(`${text.split('\n').slice(0, 3).join('\n')}\n…\n`);
    return `the same set-up at an instance's first boot, in ${text.split('\n').length} lines of shell`;
  });

  tell(
    `The instance ${instance.id} is managed by SSM. No sshd is asked, and every command's output arrives whole.`,
  );
  await step('remote, by SSM', async () => {
    const as = { as: 'OPERATOR' } as const;
    const up = ['docker', 'compose', '--project-directory', APP_DIR, 'up', '--detach', '--wait'];
    await app.run('server/remote', ['shell', ...up], as);
    await app.run('server/remote', ['status'], as);
    await app.run('server/remote', ['exec', 'nginx', '-v'], as);
    const asked = ['create-user', EMAIL, '--password-stdin'];
    await app.run('server/remote', asked, {
      ...as,
      input: `${PASSWORD}\n`,
      note: 'the password on its stdin',
    });
    return `status, exec, create-user; ${await notInHistory(world)}`;
  });
}

/** SSM keeps every command for a month, for all who may list them. @throws Error when the password is among them */
async function notInHistory({ aws }: World): Promise<string> {
  const { paginateListCommands, SSMClient } = await import('@aws-sdk/client-ssm');
  const { accessKeyId = '', secretAccessKey = '' } = aws.users['admin'] ?? {};
  const client = new SSMClient({ endpoint: aws.url, region, credentials: { accessKeyId, secretAccessKey } });
  const kept: string[] = [];
  for await (const { Commands = [] } of paginateListCommands({ client }, {}))
    kept.push(...Commands.map((command) => JSON.stringify(command)));
  // Words may have gone there in base64.
  const plain = kept.map((text) =>
    text.replaceAll(/[\w+/=]{16,}/g, (word) => word + Buffer.from(word, 'base64')),
  );
  if (!plain.some((text) => text.includes(EMAIL))) throw new Error('the history does not have what we did');
  if (plain.some((text) => text.includes(PASSWORD))) throw new Error('the password is in the history of SSM');
  return `the password is in none of the ${kept.length} commands that SSM keeps`;
}
