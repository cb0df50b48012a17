import { gunzipSync } from 'node:zlib';
import { Failure } from '../../failure.ts';
import { PAGE_BYTES } from './script.ts';

/** What a command ended with, whole. */
export interface Answer {
  code: number;
  out: Buffer;
  err: Buffer;
}

/** Fetches one page of a file of the command's folder, from a byte on. */
type FetchPage = (file: 'out.gz' | 'err.gz', from: number) => Promise<Buffer>;

/** Pages are fetched by commands of their own; so many at once. */
const PAGES_AT_ONCE = 8;

/** Makes of the answer what the command wrote; undefined when it is none of ours. */
export async function readAnswer(
  text: string,
  page: FetchPage,
): Promise<(Answer & { paged: boolean }) | undefined> {
  const [head = '', out, err] = text.split('\n');
  const [, code, outSize, errSize] = /^opsbook (\d+) (\d+) (\d+)$/.exec(head) ?? [];
  if (code === undefined) return undefined;
  const paged = err === undefined;
  const [o, e] = paged
    ? await Promise.all([
        fetchAll(page, 'out.gz', Number(outSize)),
        fetchAll(page, 'err.gz', Number(errSize)),
      ])
    : [out, err].map((encoded) => Buffer.from(encoded ?? '', 'base64'));
  return { code: Number(code), out: gunzipSync(o ?? ''), err: gunzipSync(e ?? ''), paged };
}

async function fetchAll(page: FetchPage, file: 'out.gz' | 'err.gz', size: number): Promise<Buffer> {
  const pages = Array.from({ length: Math.ceil(size / PAGE_BYTES) }, (_, i) => i * PAGE_BYTES);
  const fetched: Buffer[] = [];
  const fetchSome = async (): Promise<void> => {
    for (let from = pages.shift(); from !== undefined; from = pages.shift())
      fetched[from / PAGE_BYTES] = await page(file, from);
  };
  await Promise.all(Array.from({ length: PAGES_AT_ONCE }, fetchSome));
  const whole = Buffer.concat(fetched);
  if (whole.length === size) return whole;
  throw new Failure(`${whole.length} of ${size} bytes of the command's output (${file}) could be fetched`, {
    next: 'the command has ended: look at what it did, then run it again',
  });
}
