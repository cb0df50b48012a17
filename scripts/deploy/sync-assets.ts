import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, type Dirent, readdirSync, type Stats, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { flag } from '../../lib/definition.ts';
import { EXIT, Failure } from '../../lib/failure.ts';
import { bytes, count } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';
import { list, optionalSetting, parsed, setting } from '../../lib/settings.ts';

/** Where static files are, and where they go. */
const assetSettings = {
  ASSETS_DIRECTORY: setting('ASSETS_DIRECTORY', {
    about: 'the directory of built static files, relative to the current one',
    example: 'web/dist',
    type: (z) => z.string(),
  }),
  ASSETS_BUCKET: setting('ASSETS_BUCKET', {
    about: 'where they are served from',
    example: 's3://drawing-agent-web/',
    type: parsed(parseBucket),
  }),
  ASSETS_IMMUTABLE: optionalSetting('ASSETS_IMMUTABLE', {
    about:
      'directories in which every name has a hash of its content, beside the names that plainly have one',
    example: 'assets,_next/static',
    type: list((raw) => raw.replace(/^\/+|\/+$/g, '')),
  }),
  CLOUDFRONT_DISTRIBUTION: optionalSetting('CLOUDFRONT_DISTRIBUTION', {
    about:
      'the id of the CloudFront distribution in front of the bucket; its cache is emptied when files changed',
    example: 'E2QWRUHAPOMQZL',
    type: (z) => z.string().regex(/^[A-Z0-9]{10,20}$/, 'is not the id of a distribution'),
  }),
};

/** A year, which is as long as RFC 9111 lets anything be fresh. */
const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Kept, but asked about each time: HTML, and whatever keeps its name when it changes. */
const ASK = 'no-cache';

/** What is referred to goes before what refers to it, and the file that names the version after all. */
const STAGES = ['files', 'pages', 'version'] as const;

// `.js`, `.css.map`, `.js.gz`.
const EXTENSIONS = /\.[a-zA-Z0-9]+(?:\.(?:map|gz|br))?$/;
/** A name that is a hash alone has at least so many digits: shorter ones may be words. */
const ALONE = 16;

/** Files up to this many bytes are read whole, so that an upload of one can be tried again. */
const WHOLE = 16e6;
const DELETED_AT_ONCE = 1000;

await script(import.meta, {
  does: 'Sync a directory of built static files to a bucket, with the headers that browsers need',
  step: 'Publish the static files',
  example: 'npx tsx scripts/deploy/sync-assets.ts --dry-run',
  settings: assetSettings,
  targetless: true,
  flags: { force: flag('--force', 'delete even more than half of what is in the bucket') },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, report, change, signal, dryRun, json } = context;
    const { forEach } = await import('../../lib/pool.ts');
    const {
      ASSETS_DIRECTORY: directory,
      CLOUDFRONT_DISTRIBUTION: distribution,
      AWS_REGION: region,
    } = settings;

    const assets = await readAssets(directory, settings.ASSETS_IMMUTABLE ?? [], signal);
    const bucket = await openBucket(settings.ASSETS_BUCKET, region, signal);
    const plan = planSync(assets, await bucket.list());
    // Files whose bytes are there, but under other headers than ours, have to go again.
    const again = new Set<Asset>();
    const check = async (asset: Asset) => void ((await bucket.hasHeaders(asset)) || again.add(asset));
    await forEach(plan.same, { signal, act: check });
    if (!flags.force) refuseManyLost(plan, directory, bucket.uri);
    const { remove } = plan;
    const upload = [...plan.upload, ...again];
    const same = plan.same.filter((asset) => !again.has(asset));
    const size = (files: readonly Asset[]) => files.reduce((sum, asset) => sum + asset.bytes, 0);
    const counts = `${same.length} unchanged, ${remove.length} to delete`;
    report.summary(
      `${count(upload.length, 'file')} to upload (${bytes(size(upload))}), ${counts}: ${bucket.uri}`,
    );

    // In this order a page that is open never refers to what is not there.
    for (const stage of STAGES) {
      const files = upload.filter((asset) => asset.stage === stage);
      const total = size(files);
      const puts = files.map(
        ({ path, contentType, cacheControl }) => `put ${bucket.uri}${path} (${contentType}; ${cacheControl})`,
      );
      if (files.length === 0) continue;
      await change(`upload ${stage}`, puts, async (step) => {
        let done = 0;
        const act = async (asset: Asset) => {
          await bucket.put(asset);
          done += asset.bytes;
          step.progress({ done, total, unit: 'bytes' });
        };
        await forEach(files, { signal, weigh: (asset) => asset.bytes, act });
        step.note(`${count(files.length, 'file')}, ${bytes(total)}`);
      });
    }
    if (remove.length > 0) {
      const deletions = remove.map((path) => `delete ${bucket.uri}${path}`);
      await change(`delete ${count(remove.length, 'object')}`, deletions, () => bucket.remove(remove));
    }
    let invalidation: string | undefined;
    if (distribution && upload.length + remove.length > 0)
      invalidation = await change(
        `empty the cache of ${distribution}`,
        [`invalidate /* of ${distribution}`],
        () => invalidate(distribution, region, signal),
      );
    const numbers = { uploaded: upload.length, unchanged: same.length, deleted: remove.length };
    if (json && !dryRun) report.data(JSON.stringify({ bucket: bucket.uri, ...numbers, invalidation }));
  },
});

/** A bucket, and what is before each key in it: nothing, or a prefix with a slash behind it. */
function parseBucket(raw: string): { bucket: string; prefix: string } {
  const [, bucket, folder = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(raw) ?? [];
  if (bucket === undefined) throw new Error('is not s3://bucket/prefix');
  const prefix = folder.replace(/\/+$/, '');
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}

/** A file as it is to be in the bucket. */
interface Asset {
  /** Below the directory, with slashes on every system. */
  path: string;
  file: string;
  bytes: number;
  /** MD5 in hexadecimal: what S3 calls the ETag of an object that came in one request. */
  md5: string;
  contentType: string;
  cacheControl: string;
  stage: (typeof STAGES)[number];
}

/** @throws Failure when the directory is not there, has no file, or has files that nobody means to publish */
async function readAssets(
  directory: string,
  immutable: readonly string[],
  signal: AbortSignal,
): Promise<Asset[]> {
  const { forEach } = await import('../../lib/pool.ts');
  const { default: mime } = await import('mime');
  const found = [...filesIn(directory)];
  if (found.length === 0)
    throw new Failure(`${directory} has no file in it`, {
      next: 'build the files first, or correct ASSETS_DIRECTORY',
    });
  // A directory with these in it is not the one that was built.
  const secret = found.find(({ path }) => /(^|\/)(\.git\/|\.env($|\.)|[^/]+\.(pem|key)$)/.test(path));
  if (secret)
    throw new Failure(`${join(directory, secret.path)} would be published`, {
      next: 'remove it, or correct ASSETS_DIRECTORY',
    });
  const assets: Asset[] = [];
  await forEach(found, {
    signal,
    act: async ({ path, file, stats }) => {
      const hash = createHash('md5');
      await pipeline(createReadStream(file), hash, { signal });
      const type = mime.getType(path) ?? 'application/octet-stream';
      assets.push({
        ...{ path, file, bytes: stats.size, md5: hash.digest('hex'), stage: stageOf(path) },
        contentType: type.startsWith('text/') ? `${type}; charset=utf-8` : type,
        cacheControl: isImmutable(path, immutable) ? IMMUTABLE : ASK,
      });
    },
  });
  return assets.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The files in a folder of the directory, and in those below it. @throws Failure for what is neither */
function* filesIn(directory: string, folder = ''): Generator<{ path: string; file: string; stats: Stats }> {
  for (const entry of entriesOf(join(directory, folder))) {
    const path = `${folder}${entry.name}`;
    const file = join(directory, path);
    // A link to a file is that file; one to a directory may lead in a circle.
    const stats = statSync(file);
    if (entry.isDirectory()) yield* filesIn(directory, `${path}/`);
    else if (stats.isFile()) yield { path, file, stats };
    else throw new Failure(`${file} is not a file`, { next: 'put files and directories there, no links' });
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

export function stageOf(path: string): Asset['stage'] {
  if (/^version\.(txt|json)$/.test(path)) return 'version';
  return isHtml(path) ? 'pages' : 'files';
}

function isHtml(path: string): boolean {
  return /\.x?html?$/i.test(path);
}

/** Whether a file never changes under its name; `directories` are those in which none does. */
export function isImmutable(path: string, directories: readonly string[]): boolean {
  if (isHtml(path)) return false;
  if (directories.some((directory) => path.startsWith(`${directory}/`))) return true;
  const stem = path.slice(path.lastIndexOf('/') + 1).replace(EXTENSIONS, '');
  return hashOf(stem) !== undefined;
}

/** A name without its hash: two builds of one file have it in common. */
export function plainName(path: string): string {
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  const file = path.slice(folder.length);
  const stem = file.replace(EXTENSIONS, '');
  const hash = hashOf(stem);
  return hash === undefined ? path : `${folder}${stem.slice(0, -hash.length)}*${file.slice(stem.length)}`;
}

/** The hash in a name without its extensions: what is behind the last separator; one in base64 may have dashes in it. */
function hashOf(stem: string): string | undefined {
  const behind = /[-_.]([^-_.]+)$/.exec(stem)?.[1] ?? '';
  const eight = /[-_.]/.test(stem.at(-9) ?? '') ? stem.slice(-8) : '';
  return [behind, eight, stem.length >= ALONE ? stem : ''].find(isHash);
}

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

/** An object as the bucket's listing shows it. */
interface BucketObject {
  path: string;
  bytes: number;
  etag: string;
}

/** What makes the bucket like the directory. */
interface SyncPlan {
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

export function planSync(assets: readonly Asset[], objects: readonly BucketObject[]): SyncPlan {
  const there = new Map(objects.map((object) => [object.path, object]));
  const isSame = ({ path, bytes, md5 }: Asset) =>
    there.get(path)?.etag === md5 && there.get(path)?.bytes === bytes;
  const here = new Set(assets.map(({ path }) => path));
  const names = new Set(assets.map(({ path }) => plainName(path)));
  const remove = objects.map(({ path }) => path).filter((path) => !here.has(path));
  return {
    upload: assets.filter((asset) => !isSame(asset)),
    same: assets.filter(isSame),
    remove,
    lost: remove.filter((path) => !names.has(plainName(path))),
    before: objects.length,
  };
}

/** @throws Failure when more than half of what is there would go: that is how a wrong directory looks */
export function refuseManyLost({ lost, before }: SyncPlan, directory: string, bucket: string): void {
  if (lost.length * 2 <= before) return;
  const named = `${lost.slice(0, 3).join(', ')}${lost.length > 3 ? ' …' : ''}`;
  throw new Failure(
    `${lost.length} of ${count(before, 'object')} in ${bucket} are not in ${directory}: ${named}`,
    { next: 'correct ASSETS_DIRECTORY or ASSETS_BUCKET; if all of them are to be deleted: --force' },
  );
}

/** The bucket that static files are served from. Needs ListBucket, GetObject, PutObject and DeleteObject. */
async function openBucket(
  { bucket: Bucket, prefix }: ReturnType<typeof parseBucket>,
  region: string | undefined,
  signal: AbortSignal,
) {
  const s3 = await import('@aws-sdk/client-s3');
  const { awsFailure, s3Client } = await import('../../lib/aws.ts');
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
        const found: BucketObject[] = [];
        for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: prefix }, options))
          for (const { Key = '', Size = 0, ETag = '' } of page.Contents ?? [])
            found.push({ path: Key.slice(prefix.length), bytes: Size, etag: ETag.replaceAll('"', '') });
        return found;
      }),
    /** Whether an object has the headers that the file is to have. */
    hasHeaders: ({ path, contentType, cacheControl }: Asset) =>
      tried('GetObject', path, async () => {
        const head = await client.send(new s3.HeadObjectCommand(at(path)), options);
        return head.ContentType === contentType && head.CacheControl === cacheControl;
      }),
    put: ({ path, file, bytes, md5, contentType, cacheControl }: Asset) =>
      tried('PutObject', path, async () => {
        const object = {
          ...at(path),
          Body: bytes <= WHOLE ? await readFile(file) : createReadStream(file),
          ContentLength: bytes,
          // S3 refuses a file that has changed since it was read.
          ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
          ContentType: contentType,
          CacheControl: cacheControl,
        };
        await client.send(new s3.PutObjectCommand(object), options);
      }),
    async remove(paths: readonly string[]) {
      for (let i = 0; i < paths.length; i += DELETED_AT_ONCE) {
        const some = paths.slice(i, i + DELETED_AT_ONCE);
        const Delete = { Objects: some.map((path) => ({ Key: at(path).Key })), Quiet: true };
        await tried('DeleteObject', some[0] ?? '', async () => {
          const { Errors: [first] = [] } = await client.send(
            new s3.DeleteObjectsCommand({ Bucket, Delete }),
            options,
          );
          // It answers 200 and lists what it did not delete.
          if (first)
            throw new Failure(`DeleteObject s3://${Bucket}/${first.Key}: ${first.Code}`, {
              next: 'use credentials that are allowed s3:DeleteObject',
            });
        });
      }
    },
  };
}

/**
 * Empties the cache of a distribution; returns the id of the invalidation, which takes CloudFront some minutes. All of
 * it: under which paths a bucket is served is known to the distribution alone, and one wildcard is billed as one path.
 */
async function invalidate(
  distribution: string,
  region: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { CloudFrontClient, CreateInvalidationCommand } = await import('@aws-sdk/client-cloudfront');
  const { awsFailure } = await import('../../lib/aws.ts');
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
