import type { TableRows } from '../manifest.ts';
import { ident, type Server } from './server.ts';
import { readableTables } from './snapshot.ts';

/** Exact numbers of rows; of the tables that were only estimated, whether they are there. */
export async function countRows(
  server: Server,
  database: string,
  expected: readonly TableRows[],
): Promise<TableRows[]> {
  const tables = await readableTables(server, database);
  const exact = new Set(expected.filter((t) => t.exact).map((t) => t.table));
  const named = tables.map(({ schema, name }) => ({ schema, name, table: `${schema}.${name}` }));
  const counts = named
    .filter(({ table }) => exact.has(table))
    .map(({ schema, name }) => `SELECT to_json(count(*)) FROM ${ident(schema)}.${ident(name)}`);
  const rows = counts.length > 0 ? await server.rows<number>(database, counts.join(';\n')) : [];
  return named.map(({ table }) =>
    exact.has(table) ? { table, rows: rows.shift() ?? 0, exact: true } : { table, rows: 0, exact: false },
  );
}
