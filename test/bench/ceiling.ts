import { Agent, request } from 'node:http';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { seconds } from './measure.ts';

/** What a store takes at the most. */
export interface Ceiling {
  megabytesPerSecond: number;
  putsPerSecond: number;
}

type Put = (key: string, body: Buffer) => Promise<unknown>;

const PART = 8 * 1024 * 1024;
const SMALL = 50_000;

async function inFlight(count: number, width: number, act: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await act(i);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

async function ceiling(put: Put, puts: number): Promise<Ceiling> {
  const [large, small] = [Buffer.alloc(PART, 'x'), Buffer.alloc(SMALL, 'x')];
  await put('ceiling/warm', small);
  const parts = 24;
  const bulk = await seconds(() => inFlight(parts, 3, (i) => put(`ceiling/large-${i}`, large)));
  const many = await seconds(() => inFlight(puts, 32, (i) => put(`ceiling/small-${i}`, small)));
  return { megabytesPerSecond: (parts * PART) / 1e6 / bulk, putsPerSecond: puts / many };
}

/** The ceiling of a store that wants signatures, by the SDK's own PutObject. */
export function signedCeiling(client: S3Client, Bucket: string): Promise<Ceiling> {
  return ceiling((Key, Body) => client.send(new PutObjectCommand({ Bucket, Key, Body })), 600);
}

/** The ceiling of a store that wants none, by bare HTTP: no client does less for a request. */
export async function bareCeiling(url: string, bucket: string): Promise<Ceiling> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const put: Put = (key, body) =>
    new Promise((resolve, reject) => {
      const sent = request(`${url}/${bucket}/${key}`, { method: 'PUT', agent }, (response) => {
        response.resume().on('end', resolve);
      });
      sent.on('error', reject).end(body);
    });
  try {
    return await ceiling(put, 10_000);
  } finally {
    agent.destroy();
  }
}

/** As the notes below the table say it. */
export const shown = (name: string, { megabytesPerSecond, putsPerSecond }: Ceiling): string =>
  `${name} takes ${megabytesPerSecond.toFixed(0)} MB/s (8 MiB parts, 3 in flight) and ` +
  `${putsPerSecond.toFixed(0)} PUT/s (50 KB, 32 in flight)`;
