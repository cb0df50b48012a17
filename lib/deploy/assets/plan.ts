import { Failure } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Asset } from './files.ts';
import { plainName } from './names.ts';

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
