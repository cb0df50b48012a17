import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { PostgresAddress } from './address.ts';
import { connect, uninterrupted } from './server.ts';
import { besideName, databases, swap } from './swap.ts';

/** Puts `kept` back into the live place, and what was live aside as `<database>_undone_<id>`; returns that name, or nothing where none was live. */
export async function undoPostgres(
  address: PostgresAddress,
  compose: Compose,
  { host, id }: { host: Host; id: string },
  kept: string,
): Promise<string> {
  const server = await connect(host, compose, address);
  const taken = await databases(server);
  if (!taken.includes(kept)) {
    throw new Failure(`the database ${kept} is not there any more: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  const { database } = address;
  const aside = taken.includes(database) ? besideName(database, 'undone', id, taken) : '';
  await swap(uninterrupted(server), database, aside, kept);
  return aside;
}
