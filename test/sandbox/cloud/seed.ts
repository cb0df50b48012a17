import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  IAMClient,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  CreateBucketCommand,
  PutBucketVersioningCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { sandboxDir } from '../names.ts';
import { type Credentials, updateState } from '../state.ts';
import { region } from './aws.ts';

/** Backup buckets by the app that they belong to. */
export const buckets = { bloaty: 'bloaty-backups-x7', chitram: 'chitram-backups-x7' } as const;
export type AppName = keyof typeof buckets;

const roles = ['backup-writer', 'backup-pruner', 'backup-reader'] as const;
export type BackupRole = (typeof roles)[number];

/** IAM user of this role for this app's bucket; bloaty's have the plain names. */
export const userName = (app: AppName, role: BackupRole): string =>
  app === 'bloaty' ? role : `${app}-${role}`;

/** The policy as it is kept in cloud/policies, for this app's bucket. */
async function policy(name: string, app: AppName): Promise<string> {
  const text = await readFile(join(sandboxDir, 'cloud/policies', `${name}.json`), 'utf8');
  return text.replaceAll(buckets.bloaty, buckets[app]);
}

async function createUser(iam: IAMClient, user: string, document: string): Promise<Credentials> {
  await iam.send(new CreateUserCommand({ UserName: user }));
  await iam.send(new PutUserPolicyCommand({ UserName: user, PolicyName: user, PolicyDocument: document }));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: user }));
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
}

async function createBucket(s3: S3Client, bucket: string): Promise<void> {
  await s3.send(
    new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: region } }),
  );
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } }),
  );
  const closed = {
    BlockPublicAcls: true,
    BlockPublicPolicy: true,
    IgnorePublicAcls: true,
    RestrictPublicBuckets: true,
  };
  await s3.send(new PutPublicAccessBlockCommand({ Bucket: bucket, PublicAccessBlockConfiguration: closed }));
}

/** Creates the buckets and the IAM users in an AWS that checks nothing yet; then lets it check every call. */
export async function seed(endpoint: string, container: string): Promise<void> {
  const client = { endpoint, region, credentials: { accessKeyId: 'seed', secretAccessKey: 'seed' } };
  const s3 = new S3Client({ ...client, forcePathStyle: true });
  const iam = new IAMClient(client);
  const awsUsers: Record<string, Credentials> = {};
  for (const app of Object.keys(buckets) as AppName[]) {
    await createBucket(s3, buckets[app]);
    for (const role of roles) {
      const user = userName(app, role);
      awsUsers[user] = await createUser(iam, user, await policy(role, app));
    }
  }
  for (const user of ['admin', 'operator', 'instance-role', 'secrets-reader', 'secrets-writer'])
    awsUsers[user] = await createUser(iam, user, await policy(user, 'bloaty'));
  await fetch(`${endpoint}/moto-api/reset-auth`, { method: 'POST', body: '0' });
  updateState({ awsContainer: container, awsUsers });
}
