import { bytes, count } from '../../format.ts';
import { forEach } from '../../pool.ts';
import type { Context } from '../../script.ts';
import type { AssetBucket } from './bucket.ts';
import type { Asset } from './files.ts';
import { STAGES, type Stage } from './names.ts';
import type { SyncPlan } from './plan.ts';

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
