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
  const counted: TableRows[] = [];
  for (const { schema, name } of tables) {
    const table = `${schema}.${name}`;
    if (!exact.has(table)) {
      counted.push({ table, rows: 0, exact: false });
      continue;
    }
    const sql = `SELECT to_json(count(*)) FROM ${ident(schema)}.${ident(name)}`;
    const [rows = 0] = await server.rows<number>(database, sql);
    counted.push({ table, rows, exact: true });
  }
  return counted;
}
