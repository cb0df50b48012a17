import { randomBytes } from 'node:crypto';

const USERS = 25;
const ENTRIES = 500;
const PICTURES = 60;
const KINDS = ['meal', 'symptom', 'note'];

/** Writes entries and uploads through the app's own HTTP interface. */
export async function traffic(url: string): Promise<string> {
  const entries = Array.from({ length: ENTRIES }, (_, n) => ({
    email: `user${n % USERS}@example.org`,
    kind: KINDS[n % KINDS.length],
    body: `Entry ${n}: ${['bread', 'milk', 'coffee', 'sleepless', 'better'][n % 5]}, "quoted", ünïcödé`,
    details: { number: n, tags: ['a', 'b'] },
    amount: (n * 37) / 100,
  }));
  for (let at = 0; at < entries.length; at += 100) {
    await post(`${url}/entries`, JSON.stringify(entries.slice(at, at + 100)), 'application/json');
  }
  for (let n = 0; n < PICTURES; n += 1) {
    // Every tenth picture is one that was uploaded before: it must be stored once.
    const content = n % 10 === 9 ? Buffer.alloc(40_000, 'same') : randomBytes(20_000 + n * 1000);
    await post(`${url}/uploads/picture-${n}.jpg`, content, 'image/jpeg');
  }
  return `${ENTRIES} entries of ${USERS} users, ${PICTURES} uploads`;
}

async function post(url: string, body: string | Buffer, type: string): Promise<void> {
  const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': type } });
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${await response.text()}`);
}
