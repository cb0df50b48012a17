import { CommandFailure } from '../../command.ts';
import type { Report } from '../../report.ts';
import { ident, type Sql, sql } from '../../sql.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import type { Globals, Setting } from './globals.ts';
import { readGlobals } from './read-globals.ts';
import { createMissingRoles, grantStatements, setStatements } from './roles.ts';
import { type Server, uninterrupted } from './server.ts';

/**
 * Makes the database that a dump is restored into, as the one was that it is of; missing roles come first.
 * @param schema what the dump says of its tables; asked for only where roles are missing, which it may name
 * @returns what is left to do after the dump: a setting must not change how it is read
 */
export async function createDatabase(
  server: Server,
  part: PostgresPart,
  name: string,
  schema: () => Promise<string>,
  recovery: Recovery,
): Promise<() => Promise<void>> {
  const { report } = recovery;
  const globals = await readGlobals(part, recovery);
  const set = (settings: Globals['settings'], of: Sql) => setAll(server, settings, of, report);
  await makeRoles(server, globals, part, schema, report);
  const icu = part.icuLocale === null ? sql`` : sql` LOCALE_PROVIDER icu ICU_LOCALE ${part.icuLocale}`;
  const database = ident(name);
  await server.execute(
    server.maintenance,
    dropStatement(name),
    sql`CREATE DATABASE ${database} OWNER ${ident(part.owner)} TEMPLATE template0 ENCODING ${part.encoding}
      LC_COLLATE ${part.collate} LC_CTYPE ${part.ctype}${icu}`,
    ...(part.access ? grantStatements(database, part.access, part.owner) : []),
    ...(part.connectionLimit === undefined
      ? []
      : [sql`ALTER DATABASE ${database} CONNECTION LIMIT ${part.connectionLimit}`]),
  );
  // What an app or an extension made up is nothing to PostgreSQL itself, and a function of the dump may ask for it.
  const own = ({ name }: Setting) => !name.includes('.');
  await set(
    globals.settings.filter((setting) => !own(setting)),
    sql`ALTER DATABASE ${database}`,
  );
  return async () => {
    await set(globals.settings.filter(own), sql`ALTER DATABASE ${database}`);
    for (const { role, settings } of globals.roleSettings)
      await set(settings, sql`ALTER ROLE ${ident(role)} IN DATABASE ${database}`);
  };
}

async function makeRoles(
  server: Server,
  globals: Globals,
  { owner, access }: PostgresPart,
  schema: () => Promise<string>,
  report: Report,
): Promise<void> {
  const granted = (access ?? []).flatMap(({ to }) => to ?? []);
  const names = [owner, ...granted, ...globals.roleSettings.map(({ role }) => role)];
  const { roles, withheld } = await createMissingRoles(server, globals, async () => ({
    names,
    schema: await schema(),
  }));
  if (roles.length === 0) return;
  report.warn(
    `made the roles ${roles.map(({ name }) => name).join(', ')}: they have no password yet (ALTER ROLE … PASSWORD)`,
  );
  if (withheld.length > 0) {
    const statements = withheld.map(({ text }) => `${text};`).join(' ');
    report.warn(`left out what gives power over the server; run it yourself if it is meant: ${statements}`);
  }
  for (const { name, settings } of roles)
    await setAll(server, settings, sql`ALTER ROLE ${ident(name)}`, report);
}

/** psql's exit code for a statement that failed, not the connection. */
const REFUSED = 3;

/** Sets one by one; what the server refuses (another version, a tablespace that it lacks) is named, never its value. */
async function setAll(server: Server, settings: readonly Setting[], of: Sql, report: Report): Promise<void> {
  for (const setting of settings) {
    try {
      await server.execute(server.maintenance, ...setStatements(of, setting));
    } catch (error) {
      if (!(error instanceof CommandFailure) || error.code !== REFUSED) throw error;
      // `invalid value for parameter "x": "…"`; others name no value.
      const words = error.words.replace(/": ".*$/, '"');
      report.warn(`the server refused ${of.text} SET ${setting.name}: ${words}`);
    }
  }
}

/** Drops a database, whoever is connected to it, also after an interruption. */
export const drop = (server: Server, name: string) =>
  uninterrupted(server).execute(server.maintenance, dropStatement(name));

const dropStatement = (name: string) => sql`DROP DATABASE IF EXISTS ${ident(name)} WITH (FORCE)`;
