import { region } from '../cloud/aws.ts';
import { tryDocker } from '../machine/docker.ts';
import type { World } from '../world.ts';
import { imageOf, SECRET } from './site.ts';

/** AWS as the tour begins: a repository for the app's image, which is somebody's Terraform elsewhere, and no secret. */
export async function emptyCloud({ aws }: World): Promise<void> {
  const { CreateRepositoryCommand, DeleteRepositoryCommand, ECRClient } = await import('@aws-sdk/client-ecr');
  const { DeleteSecretCommand, SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
  const { accessKeyId = '', secretAccessKey = '' } = aws.users['admin'] ?? {};
  const options = { endpoint: aws.url, region, credentials: { accessKeyId, secretAccessKey } };
  const absent = (error: Error) => {
    if (!/NotFound/.test(error.name)) throw error;
  };
  const ecr = new ECRClient(options);
  const repositoryName = 'bloaty/web';
  await ecr.send(new DeleteRepositoryCommand({ repositoryName, force: true })).catch(absent);
  await ecr.send(new CreateRepositoryCommand({ repositoryName }));
  const secrets = new SecretsManagerClient(options);
  const remove = new DeleteSecretCommand({ SecretId: SECRET, ForceDeleteWithoutRecovery: true });
  await secrets.send(remove).catch(absent);
}

/** Removes the app's image from this machine, which has only built it. */
export async function forgetImage(world: World): Promise<void> {
  const { stdout } = await tryDocker(world.engine, ['image', 'ls', '--quiet', imageOf(world)]);
  const ids = [...new Set(stdout.split('\n').filter(Boolean))];
  if (ids.length > 0) await tryDocker(world.engine, ['rmi', '--force', ...ids]);
}
