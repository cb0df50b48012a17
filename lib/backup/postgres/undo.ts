import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { PostgresAddress } from './address.ts';
import { connect } from './server.ts';
import { besideName, databases, swap } from './swap.ts';

/** Puts `kept` back into the live place, and what was live aside as `<database>_undone_<id>`; returns that name. */
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
  const aside = besideName(address.database, 'undone', id, taken);
  await swap(server, address.database, aside, kept);
  return aside;
}
