import type { PostgresPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import { openStored, usingStored } from '../stored.ts';
import { createMissingRoles, grantStatements, setStatements } from './roles.ts';
import { ident, literal, type Server, uninterrupted } from './server.ts';

/**
 * Makes the database that a dump is restored into, as the one was that it is of; missing roles come first.
 * @param schema what the dump says of its tables; asked for only where roles are missing, which it may name
 */
export async function createDatabase(
  server: Server,
  part: PostgresPart,
  name: string,
  schema: () => Promise<string>,
  recovery: Recovery,
): Promise<void> {
  const globals = await usingStored(part.globals, part.name, recovery, async () => {
    const flow = await openStored(part.globals, part.name, recovery);
    return Buffer.concat(await Array.fromAsync(flow)).toString();
  });
  const about = statementsOf(part, ident(name));
  const naming = async () => [ident(part.owner), ...about, await schema()].join('\n');
  const roles = await createMissingRoles(server, globals, naming);
  if (roles.length > 0) {
    recovery.report.warn(
      `made the roles ${roles.join(', ')}: they have no password yet (ALTER ROLE … PASSWORD)`,
    );
  }
  const icu = part.icuLocale === null ? '' : ` LOCALE_PROVIDER icu ICU_LOCALE ${literal(part.icuLocale)}`;
  await server.execute(
    server.maintenance,
    dropStatement(name),
    `CREATE DATABASE ${ident(name)} OWNER ${ident(part.owner)} TEMPLATE template0 ENCODING ${literal(part.encoding)} ` +
      `LC_COLLATE ${literal(part.collate)} LC_CTYPE ${literal(part.ctype)}${icu}`,
    ...about,
  );
}

/** What is said of a database itself: a dump of its content has none of it. */
function statementsOf(
  { settings, roleSettings, access, owner, connectionLimit }: PostgresPart,
  name: string,
) {
  return [
    ...setStatements(`ALTER DATABASE ${name}`, settings),
    ...(roleSettings ?? []).flatMap(({ role, settings }) =>
      setStatements(`ALTER ROLE ${ident(role)} IN DATABASE ${name}`, settings),
    ),
    ...(access ? grantStatements(name, access, owner) : []),
    ...(connectionLimit === undefined ? [] : [`ALTER DATABASE ${name} CONNECTION LIMIT ${connectionLimit}`]),
  ];
}

/** Drops a database, whoever is connected to it, also after an interruption. */
export const drop = (server: Server, name: string) =>
  uninterrupted(server).execute(server.maintenance, dropStatement(name));

const dropStatement = (name: string) => `DROP DATABASE IF EXISTS ${ident(name)} WITH (FORCE)`;
