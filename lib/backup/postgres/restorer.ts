import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import { differences } from '../rows.ts';
import { openStored } from '../stored.ts';
import type { PostgresAddress } from './address.ts';
import { createMissingRoles, setStatements } from './roles.ts';
import { countRows } from './rows.ts';
import { connect, explained, ident, literal, MAINTENANCE, type Server, uninterrupted } from './server.ts';
import { enoughServerSpace, stageCommand, stageDump, stagedDump } from './stage.ts';
import { besideName, databases, swap } from './swap.ts';

interface Target {
  address: PostgresAddress;
  compose: Compose;
  /** The name that the restored database gets beside the live one. */
  beside: string;
  /** Whether a database of that name was left by a run of ours, and may be cleared away. */
  ours: boolean;
}

/** A PostgreSQL database that comes back beside the live one. */
export function postgresRestorer(part: PostgresPart, target: Target, recovery: Recovery): Restorer {
  const { address, beside } = target;
  const explain = async <T>(act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      throw explained(error, address);
    }
  };
  const file = stagedDump(recovery.id);
  let server: Server | undefined;
  return {
    part,
    get plan() {
      const by = server ?? absentServer(address);
      return [
        ...(server ? [] : [startCommand(target)]),
        `get ${recovery.store.address(part.dump.key)}`,
        stageCommand(by, file),
        `CREATE DATABASE ${ident(beside)} OWNER ${ident(part.owner)}`,
        restoreCommand(by, beside, file, '$(nproc)'),
      ];
    },
    async prepare() {
      server = await explain(() => prepare(part, target, recovery));
    },
    restoreBeside: (step) => explain(() => restoreBeside(part, target, recovery, step)),
  };
}

const startCommand = ({ address, compose }: Target) =>
  compose.command('up', '--detach', '--wait', address.via === 'compose' ? address.service : '');

/** Stands in a dry run for a server whose service is down: it would be started first. */
function absentServer(address: PostgresAddress): Server {
  const service = address.via === 'compose' ? ['docker', 'compose', 'exec', '-T', address.service] : [];
  const command: Server['command'] = (program, ...args) => ({
    argv: [...service, program, ...args] as [string],
  });
  return { address, command } as Server;
}

async function prepare(
  part: PostgresPart,
  { address, compose, beside, ours }: Target,
  recovery: Recovery,
): Promise<Server | undefined> {
  besideName(address.database, 'before', recovery.id, []);
  if (!(await running(address, compose))) return undefined;
  const server = await connect(recovery.host, compose, address);
  if (!ours && (await databases(server)).includes(beside)) {
    throw new Failure(`the database ${beside} exists already`, {
      next: 'name another one by --to, or drop it',
    });
  }
  await enoughServerSpace(server, part);
  return server;
}

const running = async (address: PostgresAddress, compose: Compose) =>
  address.via === 'direct' || (await compose.container(address.service)) !== undefined;

const restoreCommand = (server: Server, database: string, file: string, jobs: string) =>
  server.command('pg_restore', '--exit-on-error', '--jobs', jobs, '--dbname', database, file);

async function restoreBeside(
  part: PostgresPart,
  target: Target,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { host } = recovery;
  const { address, compose, beside } = target;
  if (address.via === 'compose' && !(await running(address, compose))) {
    await host.run(startCommand(target));
    recovery.report.info(`started the service ${address.service}, which was down`);
  }
  const server = await connect(host, compose, address);
  await enoughServerSpace(server, part);
  const file = stagedDump(recovery.id);
  try {
    await stageDump(server, part, file, recovery, (done) =>
      step.progress({ done, total: part.dump.bytes, unit: 'bytes' }),
    );
    await createDatabase(server, part, beside, recovery);
    const jobs = (await host.run(server.command('nproc'))).trim();
    await host.run(restoreCommand(server, beside, file, jobs));
  } catch (error) {
    await drop(server, beside);
    throw error;
  } finally {
    await host.uninterrupted.run(server.command('rm', '-f', file)).catch(() => {});
  }
  return restored(server, part, beside, recovery.id);
}

async function createDatabase(
  server: Server,
  part: PostgresPart,
  name: string,
  recovery: Recovery,
): Promise<void> {
  let globals = '';
  for await (const chunk of await openStored(part.globals, part.name, recovery))
    globals += Buffer.from(chunk);
  const roles = await createMissingRoles(server, globals);
  if (roles.length > 0) {
    recovery.report.warn(
      `made the roles ${roles.join(', ')}: they have no password yet (ALTER ROLE … PASSWORD)`,
    );
  }
  await drop(server, name);
  const icu = part.icuLocale === null ? '' : ` LOCALE_PROVIDER icu ICU_LOCALE ${literal(part.icuLocale)}`;
  await server.execute(
    MAINTENANCE,
    `CREATE DATABASE ${ident(name)} OWNER ${ident(part.owner)} TEMPLATE template0 ENCODING ${literal(part.encoding)} ` +
      `LC_COLLATE ${literal(part.collate)} LC_CTYPE ${literal(part.ctype)}${icu}`,
    ...setStatements(ident(name), part.settings),
  );
}

const drop = (server: Server, name: string) =>
  uninterrupted(server).execute(MAINTENANCE, `DROP DATABASE IF EXISTS ${ident(name)} WITH (FORCE)`);

function restored(server: Server, part: PostgresPart, beside: string, id: string): Restored {
  const live = part.database;
  let kept = '';
  return {
    place: `database ${beside}`,
    compare: async () => differences(part.tables, await countRows(server, beside, part.tables)),
    async swapIn() {
      const taken = await databases(server);
      kept = taken.includes(live) ? besideName(live, 'before', id, taken) : '';
      await server.execute(beside, 'ANALYZE');
      await swap(server, live, kept, beside);
      return kept;
    },
    async swapBack() {
      const calm = uninterrupted(server);
      if (kept) await swap(calm, live, beside, kept);
      else await calm.execute(MAINTENANCE, `ALTER DATABASE ${ident(live)} RENAME TO ${ident(beside)}`);
    },
    discard: () => drop(server, beside),
  };
}
