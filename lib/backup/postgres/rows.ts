import { ident, sql } from '../../sql.ts';
import type { TableRows } from '../manifest.ts';
import type { Server } from './server.ts';
import { countOf, readableTables } from './snapshot.ts';

/** The rows of every table, counted as they were for what is expected. */
export async function countRows(
  server: Server,
  database: string,
  expected: readonly TableRows[],
): Promise<TableRows[]> {
  const tables = await readableTables(server, database);
  // Older backups counted the rows of a table's children with its own.
  const older = new Set(expected.filter((t) => t.exact !== undefined).map((t) => t.table));
  const counts = tables.map(({ schema, name }) => {
    const children = older.has(`${schema}.${name}`);
    return children ? sql`SELECT count(*) FROM ${ident(schema, name)}` : countOf(schema, name);
  });
  const rows = await server.rows<number>(database, ...counts);
  return tables.map(({ schema, name }, at) => ({ table: `${schema}.${name}`, rows: rows[at] ?? 0 }));
}
