import { createInterface } from 'node:readline';
import type { Running } from '../../host.ts';
import { PSQL, type Server } from './server.ts';

/** A psql that stays open, so that a transaction and its snapshot live as long as we need them. */
export interface Session {
  /** The lines that `sql` gives. @throws Failure with psql's own words when the session ended */
  query(sql: string): Promise<string[]>;
  /** Commits nothing: closes the connection. */
  end(): Promise<void>;
}

/** Says that a query's output is complete; no row of ours can look like it. */
const END = '\u0004opsbook';

export function openSession(server: Server, database: string): Session {
  const psql = server.host.start(server.command('psql', ...PSQL, '--dbname', database));
  const lines = createInterface({ input: psql.stdout })[Symbol.asyncIterator]();
  return {
    query: (sql) => ask(psql, lines, sql),
    async end() {
      psql.stdin.end();
      await psql.done;
    },
  };
}

async function ask(psql: Running, lines: AsyncIterator<string>, sql: string): Promise<string[]> {
  psql.stdin.write(`${sql};\n\\echo ${END}\n`);
  const answer: string[] = [];
  for (;;) {
    const { done, value } = await lines.next();
    if (done) {
      await psql.done;
      throw new Error('psql ended in the middle of a session');
    }
    if (value === END) return answer;
    answer.push(value);
  }
}
