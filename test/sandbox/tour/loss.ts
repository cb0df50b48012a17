import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from './database.ts';
import type { Scripts } from './scripts.ts';

/** Drops the database and deletes every upload, and shows what the app says to that. */
export async function loseEverything({ env }: Scripts): Promise<string> {
  await sql(env, 'DROP DATABASE bloaty WITH (FORCE)', 'postgres');
  const uploads = join(env['APP_DIR'] ?? '', 'uploads');
  for (const name of await readdir(uploads)) await rm(join(uploads, name), { recursive: true });
  const response = await fetch(env['HEALTH_URL'] ?? '');
  const said = (await response.text()).trim();
  process.stdout.write(`\nGET /health: ${response.status} ${said}\n`);
  if (response.ok) throw new Error('the app says that it is healthy without a database');
  return `the app answers ${response.status}`;
}
