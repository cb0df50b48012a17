import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

/** Where uploaded files are kept: bloaty's on disk, chitram's in a bucket. */
export interface Uploads {
  /** Makes the place, where it is ours to make. */
  prepare(): Promise<void>;
  put(name: string, content: Buffer, type: string): Promise<void>;
  get(name: string): Promise<Buffer | undefined>;
}

function onDisk(dir: string): Uploads {
  const path = (name: string): string => join(dir, normalize(`/${name}`));
  return {
    async prepare() {
      await mkdir(dir, { recursive: true });
    },
    async put(name, content) {
      await mkdir(dirname(path(name)), { recursive: true });
      await writeFile(path(name), content);
    },
    async get(name) {
      return readFile(path(name)).catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
    },
  };
}

const { UPLOADS_BUCKET, UPLOADS_DIR = '/app/uploads' } = process.env;
/** The client of S3 takes longer to load than all the rest, and tests start hundreds of apps. */
export const uploads = UPLOADS_BUCKET
  ? (await import('./bucket.ts')).inBucket(UPLOADS_BUCKET)
  : onDisk(UPLOADS_DIR);
