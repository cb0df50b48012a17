import { ident, sql } from '../../sql.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Restored } from '../part.ts';
import { differences } from '../rows.ts';
import { drop } from './create.ts';
import { countRows } from './rows.ts';
import { type Server, uninterrupted } from './server.ts';
import { besideName, databases, swap } from './swap.ts';

/** The database `beside`, which came back from the backup `id`: to be compared, and swapped in or dropped. */
export function restored(server: Server, part: PostgresPart, beside: string, id: string): Restored {
  // What is replaced is what the settings name, never what a manifest says.
  const live = server.address.database;
  let kept = '';
  return {
    place: `database ${beside}`,
    compare: async () => differences(part.tables, await countRows(server, beside, part.tables)),
    async swapIn() {
      const taken = await databases(server);
      kept = taken.includes(live) ? besideName(live, 'before', id, taken) : '';
      await server.execute(beside, sql`ANALYZE`);
      // A signal that came between the renaming and our knowing of it would leave a swap that nobody remembers.
      await swap(uninterrupted(server), live, kept, beside);
      return kept;
    },
    async swapBack() {
      const calm = uninterrupted(server);
      if (kept) await swap(calm, live, beside, kept);
      else
        await calm.execute(calm.maintenance, sql`ALTER DATABASE ${ident(live)} RENAME TO ${ident(beside)}`);
    },
    discard: () => drop(server, beside),
  };
}
