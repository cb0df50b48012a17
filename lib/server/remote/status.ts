import type { Command } from '../../command.ts';
import { parseListing } from '../../compose.ts';
import { checkAll } from '../../failure.ts';
import { table } from '../../format.ts';
import type { RemoteContext } from './remote.ts';

/** Tells of every container of the app, on every host. */
export async function status({ hosts, report, json }: RemoteContext, command: Command): Promise<void> {
  const listing = hosts.map(async (host) =>
    parseListing(await host.run(command)).map((container) => ({ host: host.name, ...container })),
  );
  const settled = await Promise.allSettled(listing);
  const rows = settled.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const told = rows.map(({ host, Service, State, Health, Status, Image }) => ({
    ...{ host, service: Service, state: State, health: Health || '-', status: Status, image: Image },
  }));
  if (json) report.data(JSON.stringify(told));
  else
    report.data(
      table([
        ['host', 'service', 'state', 'status'],
        ...told.map((r) => [r.host, r.service, r.state, r.status]),
      ]),
    );
  await checkAll(listing.map((one) => () => one));
}
