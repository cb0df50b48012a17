import { parseBucket } from '../../../lib/backup/addresses.ts';
import type { BucketAccess } from '../../../lib/backup/bucket.ts';
import type { BucketPart, Restored } from '../../../lib/backup/manifest.ts';
import { bucketRestorer, undoBucket } from '../../../lib/backup/restore-bucket.ts';
import { bucketSource } from '../../../lib/backup/save-bucket.ts';
import { backUp, recoveryIn, type World, world } from './kit.ts';
import { MemoryServer } from './memory-bucket.ts';

export const address = parseBucket('images?endpoint=http://minio:9000');
export const access = { signal: new AbortController().signal } as BucketAccess;
export const ID = '20260101-000000';
export const PHOTO = { ContentType: 'image/png', Metadata: { owner: 'me' } };
export const BACKED_UP = { 'a/photo': 'a photo', empty: '', third: '3' };
export const LIVE = { 'a/photo': 'newer', empty: '', stranger: 'not in the backup' };

/** An app with a bucket of objects, and a store. */
export class App {
  readonly w: World = world();
  readonly server = new MemoryServer();
  readonly open = async () => this.server.bucket('images');

  constructor() {
    for (const [key, text] of Object.entries(BACKED_UP)) this.server.set('images', key, text, PHOTO);
  }

  /** The app goes on: one object changed, one deleted, one new. */
  change(): void {
    this.server.set('images', 'a/photo', 'newer');
    this.server.buckets.get('images')?.delete('third');
    this.server.set('images', 'stranger', 'not in the backup');
  }

  async backUp(changes = {}): Promise<BucketPart> {
    this.server.asked.length = 0;
    const source = bucketSource(address, access, this.open);
    return (await backUp(this.w, changes, source)) as unknown as BucketPart;
  }

  async restoreBeside(part: BucketPart): Promise<Restored> {
    const recovery = await recoveryIn(this.w, { id: ID });
    const restorer = bucketRestorer(part, address, access, recovery, this.open);
    await restorer.prepare();
    this.server.asked.length = 0;
    return restorer.restoreBeside(this.w.step);
  }

  readonly live = () => this.server.texts('images');
  readonly undo = () => undoBucket(address, access, this.w.state, this.open);
}
