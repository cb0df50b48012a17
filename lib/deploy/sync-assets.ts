import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, type Dirent, readdirSync, type Stats, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { DeleteObjectsCommandOutput, _Object as S3Object } from '@aws-sdk/client-s3';
import mime from 'mime';
import { awsFailure, s3Client } from '../aws.ts';
import type { Context } from '../definition.ts';
import { EXIT, Failure } from '../failure.ts';
import { bytes, count } from '../format.ts';
import { forEach } from '../pool.ts';
import type { BucketFolder } from './settings.ts';

/** A year, which is as long as RFC 9111 lets anything be fresh. */
const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Kept, but asked about each time: HTML, and whatever keeps its name when it changes. */
const ASK = 'no-cache';

// `.js`, `.css.map`, `.js.gz`.
const EXTENSIONS = /\.[a-zA-Z0-9]+(?:\.(?:map|gz|br))?$/;
/** A name that is a hash alone has at least so many digits: shorter ones may be words. */
const ALONE = 16;

/**
 * Whether a piece of a name is plainly a hash: one that is taken for a hash by mistake is wrong in browsers for a year,
 * so that words, dates and versions must not pass. Bundlers write 8 of base64 or base32, or more of hexadecimal.
 */
function isHash(piece: string): boolean {
  if (!/\d/.test(piece) || /^\d+$/.test(piece)) return false;
  if (/^[0-9a-f]{8,64}$/.test(piece)) return true;
  if (/^[A-Z2-7]{8}$/.test(piece)) return true;
  return (
    /^[\w-]{8}$/.test(piece) && /[a-z]/.test(piece) && /[A-Z]/.test(piece) && !/^[A-Z][a-z]+\d+$/.test(piece)
  );
}

/** Whether a file never changes under its name; `directories` are those in which none does. */
export function isImmutable(path: string, directories: readonly string[]): boolean {
  if (isHtml(path)) return false;
  if (directories.some((directory) => path.startsWith(`${directory}/`))) return true;
  const stem = path.slice(path.lastIndexOf('/') + 1).replace(EXTENSIONS, '');
  return hashOf(stem) !== undefined;
}

/** The hash in a name without its extensions: what is behind the last separator; one in base64 may have dashes in it. */
function hashOf(stem: string): string | undefined {
  const behind = /[-_.]([^-_.]+)$/.exec(stem)?.[1] ?? '';
  const eight = /[-_.]/.test(stem.at(-9) ?? '') ? stem.slice(-8) : '';
  return [behind, eight, stem.length >= ALONE ? stem : ''].find(isHash);
}

/** A name without its hash: two builds of one file have it in common. */
export function plainName(path: string): string {
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const file = path.slice(folder.length);
  const stem = file.replace(EXTENSIONS, '');
  const hash = hashOf(stem);
  return hash === undefined ? path : `${folder}${stem.slice(0, -hash.length)}*${file.slice(stem.length)}`;
}

const isHtml = (path: string): boolean => /\.x?html?$/i.test(path);

/** What is referred to goes before what refers to it, and the file that tells the version behind all. */
const STAGES = ['files', 'pages', 'version'] as const;
export type Stage = (typeof STAGES)[number];

export function stageOf(path: string): Stage {
  if (/^version\.(txt|json)$/.test(path)) return 'version';
  return isHtml(path) ? 'pages' : 'files';
}

const cacheControl = (immutable: boolean): string => (immutable ? IMMUTABLE : ASK);

/** A file as it is to be in the bucket. */
export interface Asset {
  /** Below the directory, with slashes on every system. */
  path: string;
  file: string;
  bytes: number;
  /** MD5 in hexadecimal: what S3 calls the ETag of an object that came in one request. */
  md5: string;
  contentType: string;
  cacheControl: string;
  stage: Stage;
}

/** @throws Failure when the directory is not there, has no file, or has files that nobody means to publish */
export async function readAssets(
  directory: string,
  immutable: readonly string[],
  signal: AbortSignal,
): Promise<Asset[]> {
  const found: Array<{ path: string; stats: Stats }> = [];
  walk(directory, '', found);
  if (found.length === 0)
    throw new Failure(`${directory} has no file in it`, {
      next: 'build the files first, or correct ASSETS_DIRECTORY',
    });
  refusePrivate(
    directory,
    found.map(({ path }) => path),
  );
  const assets: Asset[] = [];
  await forEach(found, {
    signal,
    act: async ({ path, stats }) => {
      const file = join(directory, path);
      const isConstant = isImmutable(path, immutable);
      assets.push({
        ...{ path, file, bytes: stats.size, md5: await md5(file, signal), contentType: contentType(path) },
        ...{ cacheControl: cacheControl(isConstant), stage: stageOf(path) },
      });
    },
  });
  return assets.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function walk(directory: string, folder: string, found: Array<{ path: string; stats: Stats }>): void {
  for (const entry of entriesOf(join(directory, folder))) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    // A link to a file is that file; one to a directory may lead in a circle.
    const stats = statSync(join(directory, path));
    if (entry.isDirectory()) walk(directory, path, found);
    else if (stats.isFile()) found.push({ path, stats });
    else
      throw new Failure(`${join(directory, path)} is no file`, {
        next: 'put files and directories there, no links',
      });
  }
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure(`${directory}: ${code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`}`, {
      exit: EXIT.usage,
      next: 'build the files first, or correct ASSETS_DIRECTORY',
      cause: error,
    });
  }
}

/** A directory with these in it is not the one that was built. */
function refusePrivate(directory: string, paths: readonly string[]): void {
  const secret = paths.find((path) => /(^|\/)(\.git\/|\.env($|\.)|[^/]+\.(pem|key)$)/.test(path));
  if (secret === undefined) return;
  throw new Failure(`${join(directory, secret)} would be published`, {
    next: 'remove it, or correct ASSETS_DIRECTORY',
  });
}

async function md5(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('md5');
  await pipeline(createReadStream(file), hash, { signal });
  return hash.digest('hex');
}

/** Of its extension; texts are UTF-8. */
function contentType(path: string): string {
  const type = mime.getType(path) ?? 'application/octet-stream';
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}

/** An object as the bucket's listing shows it. */
export interface Remote {
  path: string;
  bytes: number;
  etag: string;
}

/** What makes the bucket like the directory. */
export interface SyncPlan {
  /** In the order in which they have to go. */
  upload: Asset[];
  /** The same bytes: left alone, when their headers are right too. */
  same: Asset[];
  remove: string[];
  /** Of `remove`, those of which no other build is in the directory. */
  lost: string[];
  /** Objects in the bucket before. */
  before: number;
}

export function planSync(assets: readonly Asset[], remote: readonly Remote[]): SyncPlan {
  const there = new Map(remote.map((object) => [object.path, object]));
  const isSame = ({ path, bytes, md5 }: Asset) =>
    there.get(path)?.etag === md5 && there.get(path)?.bytes === bytes;
  const here = new Set(assets.map(({ path }) => path));
  const names = new Set(assets.map(({ path }) => plainName(path)));
  const remove = remote.map(({ path }) => path).filter((path) => !here.has(path));
  return {
    upload: assets.filter((asset) => !isSame(asset)),
    same: assets.filter(isSame),
    remove,
    lost: remove.filter((path) => !names.has(plainName(path))),
    before: remote.length,
  };
}

/** @throws Failure when more than half of what is there would go: that is how a wrong directory looks */
export function refuseManyLost({ lost, before }: SyncPlan, directory: string, bucket: string): void {
  if (lost.length * 2 <= before) return;
  const named = lost.slice(0, 3).join(', ');
  throw new Failure(
    `${lost.length} of ${count(before, 'object')} in ${bucket} are not in ${directory}: ${named}${lost.length > 3 ? ' …' : ''}`,
    {
      next: 'correct ASSETS_DIRECTORY or ASSETS_BUCKET; if all of them are to be deleted: --force',
    },
  );
}

export function describeSync({ upload, same, remove }: SyncPlan): string {
  const size = bytes(upload.reduce((sum, asset) => sum + asset.bytes, 0));
  return `${count(upload.length, 'file')} to upload (${size}), ${same.length} unchanged, ${remove.length} to delete`;
}

/** Files up to this many bytes are read whole, so that an upload of one can be tried again. */
const WHOLE = 16e6;
const DELETED_AT_ONCE = 1000;

/** The bucket that static files are served from. Needs ListBucket, GetObject, PutObject and DeleteObject. */
export interface AssetBucket {
  readonly uri: string;
  list(): Promise<Remote[]>;
  /** Whether an object has the headers that the file is to have. */
  hasHeaders(asset: Asset): Promise<boolean>;
  put(asset: Asset): Promise<void>;
  remove(paths: readonly string[]): Promise<void>;
}

export async function openBucket(
  { bucket: Bucket, prefix }: BucketFolder,
  { region, signal }: { region: string | undefined; signal: AbortSignal },
): Promise<AssetBucket> {
  const s3 = await import('@aws-sdk/client-s3');
  const client = await s3Client({ region });
  const options = { abortSignal: signal };
  const uri = `s3://${Bucket}/${prefix}`;
  const at = (path: string) => ({ Bucket, Key: `${prefix}${path}` });
  const tried = async <T>(call: string, path: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof Failure ? error : awsFailure(error, `s3:${call}`, `${uri}${path}`);
    }
  };
  return {
    uri,
    list: () =>
      tried('ListBucket', '', async () => {
        const found: Remote[] = [];
        for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: prefix }, options))
          found.push(...(page.Contents ?? []).map((object) => remote(object, prefix)));
        return found;
      }),
    hasHeaders: ({ path, contentType, cacheControl }) =>
      tried('GetObject', path, async () => {
        const head = await client.send(new s3.HeadObjectCommand(at(path)), options);
        return head.ContentType === contentType && head.CacheControl === cacheControl;
      }),
    put: (asset) =>
      tried('PutObject', asset.path, async () => {
        const object = { ...at(asset.path), ...(await contentsOf(asset)) };
        await client.send(new s3.PutObjectCommand(object), options);
      }),
    async remove(paths) {
      for (let i = 0; i < paths.length; i += DELETED_AT_ONCE) {
        const some = paths.slice(i, i + DELETED_AT_ONCE);
        const Delete = { Objects: some.map((path) => ({ Key: at(path).Key })), Quiet: true };
        await tried('DeleteObject', some[0] ?? '', async () =>
          refuseErrors(Bucket, await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete }), options)),
        );
      }
    },
  };
}

const remote = ({ Key = '', Size = 0, ETag = '' }: S3Object, prefix: string): Remote => ({
  path: Key.slice(prefix.length),
  bytes: Size,
  etag: ETag.replaceAll('"', ''),
});

async function contentsOf({ file, bytes, md5, contentType, cacheControl }: Asset) {
  return {
    Body: bytes <= WHOLE ? await readFile(file) : createReadStream(file),
    ContentLength: bytes,
    // S3 refuses a file that has changed since it was looked at.
    ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
    ContentType: contentType,
    CacheControl: cacheControl,
  };
}

/** DeleteObjects answers 200 and lists what it did not delete. */
function refuseErrors(bucket: string, { Errors: [first] = [] }: DeleteObjectsCommandOutput): void {
  if (!first) return;
  throw new Failure(`DeleteObject s3://${bucket}/${first.Key}: ${first.Code}`, {
    next: 'use credentials that are allowed s3:DeleteObject',
  });
}

type Work = Pick<Context, 'change' | 'signal'>;

/** Files whose bytes are there, but under other headers than ours, have to go again. */
export async function withWrongHeaders(
  plan: SyncPlan,
  bucket: AssetBucket,
  signal: AbortSignal,
): Promise<SyncPlan> {
  const wrong = new Set<Asset>();
  await forEach(plan.same, {
    signal,
    act: async (asset) => void ((await bucket.hasHeaders(asset)) || wrong.add(asset)),
  });
  return {
    ...plan,
    upload: [...plan.upload, ...wrong],
    same: plan.same.filter((asset) => !wrong.has(asset)),
  };
}

/** The steps in which a page that is open never refers to what is not there: files, pages, deletions. */
export async function syncAssets(plan: SyncPlan, bucket: AssetBucket, work: Work): Promise<void> {
  for (const stage of STAGES)
    await upload(
      stage,
      plan.upload.filter((asset) => asset.stage === stage),
      bucket,
      work,
    );
  if (plan.remove.length === 0) return;
  const gone = plan.remove.map((path) => `delete ${bucket.uri}${path}`);
  await work.change(`delete ${count(plan.remove.length, 'object')}`, gone, () => bucket.remove(plan.remove));
}

async function upload(
  stage: Stage,
  assets: readonly Asset[],
  bucket: AssetBucket,
  { change, signal }: Work,
): Promise<void> {
  if (assets.length === 0) return;
  const total = assets.reduce((sum, asset) => sum + asset.bytes, 0);
  const lines = assets.map(
    ({ path, contentType, cacheControl }) => `put ${bucket.uri}${path} (${contentType}; ${cacheControl})`,
  );
  await change(`upload ${stage}`, lines, async (step) => {
    let done = 0;
    await forEach(assets, {
      signal,
      weigh: (asset) => asset.bytes,
      act: async (asset) => {
        await bucket.put(asset);
        done += asset.bytes;
        step.progress({ done, total, unit: 'bytes' });
      },
    });
    step.note(`${count(assets.length, 'file')}, ${bytes(total)}`);
  });
}

/**
 * Empties the cache of a distribution; returns the id of the invalidation, which takes CloudFront some minutes. All of
 * it: under which paths a bucket is served is known to the distribution alone, and one wildcard is billed as one path.
 */
export async function invalidate(
  distribution: string,
  region: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { CloudFrontClient, CreateInvalidationCommand } = await import('@aws-sdk/client-cloudfront');
  const client = new CloudFrontClient({ region: region ?? 'us-east-1' });
  const InvalidationBatch = { CallerReference: randomUUID(), Paths: { Quantity: 1, Items: ['/*'] } };
  try {
    const { Invalidation } = await client.send(
      new CreateInvalidationCommand({ DistributionId: distribution, InvalidationBatch }),
      { abortSignal: signal },
    );
    return Invalidation?.Id ?? '';
  } catch (error) {
    signal.throwIfAborted();
    throw awsFailure(error, 'cloudfront:CreateInvalidation', distribution);
  }
}
