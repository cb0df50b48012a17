import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { atEnd } from '../cleanup.ts';

/** A running sink. */
export interface Sink {
  url: string;
  /** Makes objects known without sending them. */
  populate(bucket: string, objects: ReadonlyArray<[key: string, size: number]>): Promise<void>;
  empty(bucket: string): Promise<void>;
}

const OBJECTS_AT_ONCE = 20_000;

/** Starts the sink in a process of its own; it ends with the benchmarks. */
export async function startSink(): Promise<Sink> {
  const server = fileURLToPath(new URL('server.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), server], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  atEnd(() => child.kill());
  const [first] = (await once(child.stdout, 'data')) as [Buffer];
  const url = `http://127.0.0.1:${Number(String(first))}`;
  const send = async (method: string, path: string, body?: string): Promise<void> => {
    const response = await fetch(`${url}/${path}`, { method, ...(body === undefined ? {} : { body }) });
    if (!response.ok) throw new Error(`the sink answered ${response.status}: ${await response.text()}`);
    await response.arrayBuffer();
  };
  return {
    url,
    async populate(bucket, objects) {
      for (let at = 0; at < objects.length; at += OBJECTS_AT_ONCE) {
        const some = objects.slice(at, at + OBJECTS_AT_ONCE);
        await send('POST', `${bucket}?populate`, JSON.stringify(some));
      }
    },
    empty: (bucket) => send('DELETE', bucket),
  };
}
