import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from './database.ts';
import type { Scripts } from './scripts.ts';

/** Every row and every file, each as a line of its own. */
export interface Fingerprint {
  rows: string[];
  files: string[];
}

/** Reads all that the app has: past opsbook, straight from PostgreSQL and from the disk. */
export async function fingerprint({ env }: Scripts): Promise<Fingerprint> {
  const tables = (
    await sql(env, "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
  )
    .split('\n')
    .filter(Boolean);
  const rows: string[] = [];
  for (const table of tables) {
    const text = await sql(env, `SELECT t::text FROM ${table} t ORDER BY t::text`);
    rows.push(
      ...text
        .split('\n')
        .filter(Boolean)
        .map((row) => `${table} ${row}`),
    );
  }
  const uploads = join(env['APP_DIR'] ?? '', 'uploads');
  const files: string[] = [];
  for (const entry of await readdir(uploads, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push(
      `${path.slice(uploads.length + 1)} ${createHash('sha256')
        .update(await readFile(path))
        .digest('hex')}`,
    );
  }
  return { rows, files: files.sort() };
}

/** Says that two are equal. @throws Error with the first difference */
export function sameness(before: Fingerprint, after: Fingerprint): string {
  for (const kind of ['rows', 'files'] as const) {
    const difference = before[kind].findIndex((line, i) => after[kind][i] !== line);
    if (difference >= 0 || before[kind].length !== after[kind].length) {
      throw new Error(`${kind} differ: was ${before[kind][difference]}, is ${after[kind][difference]}`);
    }
  }
  return `all ${after.rows.length} rows and ${after.files.length} files are as they were`;
}
