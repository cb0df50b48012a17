import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import pg from 'pg';

export interface NewEntry {
  email: string;
  kind?: string;
  body: string;
  details?: unknown;
  amount?: string | number | null;
  tags?: string[];
  happenedAt?: string;
}

const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: 5,
  connectionTimeoutMillis: 3000,
});
// The server may go away under idle connections (a restore, a restart): the next query takes a new one.
pool.on('error', (error) => console.error(`database connection lost: ${error.message}`));

/** Creates what the schema lacks; two processes that start at once take turns. */
export async function migrate(): Promise<void> {
  const schema = await readFile(new URL('schema.sql', import.meta.url), 'utf8');
  await pool.query(`BEGIN; SELECT pg_advisory_xact_lock(7321); ${schema}; COMMIT`);
}

export async function ping(): Promise<void> {
  await pool.query('SELECT 1');
}

/** Stores entries in one transaction; unknown users are created. */
export async function addEntries(entries: NewEntry[]): Promise<string[]> {
  const emails = [...new Set(entries.map((entry) => entry.email))];
  const hashes = emails.map((email) => createHash('sha256').update(`salt:${email}`).digest());
  const { rows } = await pool.query(
    `WITH given AS (SELECT * FROM unnest($1::text[], $2::bytea[]) AS g (email, password_hash)),
          added AS (INSERT INTO users (email, password_hash) SELECT * FROM given
                    ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id, email)
     INSERT INTO entries (user_id, kind, body, details, amount, tags, happened_at)
     SELECT added.id, coalesce(e.kind, 'note')::entry_kind, e.body, coalesce(e.details, '{}'), e.amount,
            coalesce(e.tags, '{}'), coalesce(e."happenedAt", now())
     FROM jsonb_to_recordset($3::jsonb) AS e (email text, kind text, body text, details jsonb, amount numeric,
                                              tags text[], "happenedAt" timestamptz)
     JOIN added USING (email)
     RETURNING id`,
    [emails, hashes, JSON.stringify(entries)],
  );
  return rows.map((row) => row.id);
}

/** Entries after an id, oldest first; at most 1000. */
export async function listEntries(query: URLSearchParams): Promise<unknown> {
  const { rows } = await pool.query(
    `SELECT entries.*, email FROM entries JOIN users ON users.id = user_id
     WHERE entries.id > $1 AND ($2::text IS NULL OR email = $2) ORDER BY entries.id LIMIT $3`,
    [query.get('after') ?? 0, query.get('email'), Math.min(Number(query.get('limit') ?? 100), 1000)],
  );
  const { rows: count } = await pool.query('SELECT count(*)::int AS total FROM entries');
  return { total: count[0].total, entries: rows };
}

export async function recordUpload(name: string, content: Buffer): Promise<void> {
  await pool.query(
    `INSERT INTO uploads (name, bytes, sha256) VALUES ($1, $2, $3)
     ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes, sha256 = excluded.sha256`,
    [name, content.length, createHash('sha256').update(content).digest()],
  );
}

export async function listUploads(): Promise<unknown> {
  const { rows } = await pool.query(
    `SELECT name, bytes::int, encode(sha256, 'hex') AS sha256 FROM uploads ORDER BY name`,
  );
  return rows;
}

export async function close(): Promise<void> {
  await pool.end();
}
