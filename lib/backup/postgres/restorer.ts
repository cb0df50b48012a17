import type { Compose } from '../../compose.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import { dbname, ident, sql } from '../../sql.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import type { PostgresAddress } from './address.ts';
import { createDatabase, drop } from './create.ts';
import { explained } from './explained.ts';
import { restored } from './restored.ts';
import { connect, connectIfUp, type Server } from './server.ts';
import { clearStaged, enoughServerSpace, stageCommand, stageDump, stagedDump } from './stage.ts';
import { besideName, clearBeside, databases, shortEnough } from './swap.ts';

interface Target {
  address: PostgresAddress;
  compose: Compose;
  /** The name that the restored database gets beside the live one. */
  beside: string;
  /** Only `live` is swapped in. A name that was given by `--to` is nobody's to clear away. */
  for: 'live' | 'to' | 'drill';
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
  const file = stagedDump(address, recovery);
  let server: Server | undefined;
  return {
    part,
    get plan() {
      const by = server ?? absentServer(target);
      return [
        ...(server ? [] : [startCommand(target)]),
        `get ${recovery.store.address(part.dump.key)}`,
        stageCommand(by, file),
        sql`CREATE DATABASE ${ident(beside)} OWNER ${ident(part.owner)}`.text,
        restoreCommand(by, beside, file, '$(nproc)'),
      ];
    },
    async prepare() {
      server = await explain(() => prepare(part, target, recovery));
    },
    restoreBeside: (step) =>
      explain(async () => {
        server ??= await startServer(part, target, recovery);
        return restoreBeside(server, part, target, recovery, step);
      }),
  };
}

const startCommand = ({ address, compose }: Target) =>
  compose.command('up', '--detach', '--wait', address.via === 'compose' ? address.service : '');

/** Stands in a dry run for a server whose service is down: it would be started first. */
function absentServer({ address, compose }: Target): Server {
  const command: Server['command'] = (program, ...args) =>
    address.via === 'compose'
      ? compose.command('exec', '-T', address.service, program, ...args)
      : { argv: [program, ...args] };
  return { address, command } as Server;
}

async function prepare(part: PostgresPart, target: Target, recovery: Recovery): Promise<Server | undefined> {
  const { address, compose, beside } = target;
  shortEnough(beside);
  if (target.for === 'live') besideName(address.database, 'before', recovery.id, []);
  const server = await connectIfUp(recovery.host, compose, address);
  if (server) await refuseUnfit(server, part, target);
  return server;
}

/** Starts the service that was found down; what could not be looked at before is looked at now. */
async function startServer(part: PostgresPart, target: Target, recovery: Recovery): Promise<Server> {
  const { address, compose } = target;
  await recovery.host.run(startCommand(target));
  if (address.via === 'compose')
    recovery.report.info(`started the service ${address.service}, which was down`);
  const server = await connect(recovery.host, compose, address);
  await refuseUnfit(server, part, target);
  return server;
}

async function refuseUnfit(server: Server, part: PostgresPart, target: Target): Promise<void> {
  await refuseTaken(server, target);
  await enoughServerSpace(server, part);
}

/** @throws Failure when the name that an operator gave is taken: only what a run of ours left may be cleared away */
async function refuseTaken(server: Server, { beside, ...target }: Target): Promise<void> {
  if (target.for !== 'to' || !(await databases(server)).includes(beside)) return;
  throw new Failure(`the database ${beside} exists already`, {
    exit: EXIT.usage,
    next: 'name another one by --to, or drop it',
  });
}

const restoreCommand = (server: Server, database: string, file: string, jobs: string) =>
  server.command('pg_restore', '--exit-on-error', '--jobs', jobs, ...dbname(database), file);

const schemaOf = (server: Server, file: string) =>
  server.host.run(server.command('pg_restore', '--schema-only', '--file', '-', file));

async function restoreBeside(
  server: Server,
  part: PostgresPart,
  { address, beside }: Target,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { host } = recovery;
  await Promise.all([clearBeside(server, address.database), clearStaged(server, recovery)]);
  const file = stagedDump(address, recovery);
  try {
    await stageDump(server, part, file, recovery, (done) =>
      step.progress({ done, total: part.dump.bytes, unit: 'bytes' }),
    );
    const finish = await createDatabase(server, part, beside, () => schemaOf(server, file), recovery);
    const jobs = (await host.run(server.command('nproc'))).trim();
    await host.run(restoreCommand(server, beside, file, jobs));
    await finish();
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await drop(server, beside).catch(() => {});
    throw error;
  } finally {
    await host.uninterrupted.run(server.command('rm', '-f', file)).catch(() => {});
  }
  return restored(server, part, beside, recovery.id);
}
