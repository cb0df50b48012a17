import type { PostgresPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import { Corrupted } from '../store.ts';
import { openStored, usingStored } from '../stored.ts';
import { type Globals, LIST, type Membership, parseGlobals, type Role, type Setting } from './globals.ts';

/** What a backup says of roles and settings; of an older one, the settings are in its manifest. */
export async function readGlobals(part: PostgresPart, recovery: Recovery): Promise<Globals> {
  const text = await usingStored(part.globals, part.name, recovery, async () => {
    const flow = await openStored(part.globals, part.name, recovery);
    return Buffer.concat(await Array.fromAsync(flow)).toString();
  });
  const apart = (item: string): Setting => {
    const at = item.indexOf('=');
    return { name: item.slice(0, Math.max(at, 0)), value: item.slice(at + 1) };
  };
  const { settings, roleSettings } = part;
  const all = {
    ...{ settings: [], roleSettings: [] },
    ...(jsonOf(text) ?? dumpedGlobals(text)),
    ...(settings && { settings: settings.map(apart) }),
    ...(roleSettings && {
      roleSettings: roleSettings.map((of) => ({ ...of, settings: of.settings.map(apart) })),
    }),
  };
  return parseGlobals(
    all,
    (problem) => new Corrupted(`part ${part.name}: its roles and settings: ${problem}`),
  );
}

function jsonOf(text: string): object | undefined {
  try {
    return Object(JSON.parse(text));
  } catch {
    return undefined;
  }
}

// None of them can be read in two ways, so that a file made to be slow is not.
const NAME = /"(?:[^"]|"")*"(?!")|[\p{L}_][\p{L}\p{N}_$]*/u.source;
const STRING = /E'(?:[^'\\]|''|\\[\s\S])*'(?!')|'(?:[^']|'')*'(?!')/u.source;
/** What comes between statements; or one, whatever is quoted in it. */
const PIECE = new RegExp(
  `\\s+|--.*|\\\\(?:un)?restrict .*|(?<statement>(?:"(?:[^"]|"")*"(?!")|${STRING}|[^;"'\\\\E]|E(?!'))+);`,
  'uy',
);
const ATTRIBUTE = ' (NO)?(SUPERUSER|INHERIT|CREATEROLE|CREATEDB|LOGIN|REPLICATION|BYPASSRLS)';

const CREATE = new RegExp(`^CREATE ROLE (${NAME})$`, 'u');
const WITH = new RegExp(
  `^ALTER ROLE (${NAME}) WITH((?:${ATTRIBUTE.replaceAll('(', '(?:')})+)` +
    `(?: CONNECTION LIMIT (-?\\d+))?(?: VALID UNTIL (${STRING}))?$`,
  'u',
);
const SET = new RegExp(`^ALTER ROLE (${NAME}) SET (${NAME}) TO ((?:${STRING})(?:, (?:${STRING}))*)$`, 'u');
const GRANT = new RegExp(`^GRANT (${NAME}) TO (${NAME})((?:,? [A-Z]+)*)(?: GRANTED BY (?:${NAME}))?$`, 'u');

/**
 * The roles and memberships in what `pg_dumpall --globals-only` wrote, which older backups have. It is read and never
 * run: what it says of roles must have pg_dumpall's own form; all else (tablespaces, comments) is passed over.
 * @throws Corrupted for what pg_dumpall does not write
 */
export function dumpedGlobals(text: string): Pick<Globals, 'roles' | 'memberships'> {
  const roles = new Map<string, Role>();
  const memberships: Membership[] = [];
  for (const statement of statements(text)) {
    const [, created] = CREATE.exec(statement) ?? [];
    const [, group, member, options = ''] = GRANT.exec(statement) ?? [];
    if (created) roles.set(unquoted(created), newRole(unquoted(created)));
    else if (group && member) memberships.push(membershipOf(group, member, options));
    else if (/^(CREATE|ALTER) ROLE /.test(statement) && !alter(roles, statement)) throw unread(statement);
  }
  return { roles: [...roles.values()], memberships };
}

function statements(text: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; at = PIECE.lastIndex) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(text);
    if (!piece) throw unread(text.slice(at));
    if (piece.groups?.['statement']) found.push(piece.groups['statement']);
  }
  return found;
}

/** Does to `roles` what an ALTER ROLE says; false where it is none of pg_dumpall's. */
function alter(roles: ReadonlyMap<string, Role>, statement: string): boolean {
  const [, altered, attributes = '', limit, until] = WITH.exec(statement) ?? [];
  const [, set, name = '', values = ''] = SET.exec(statement) ?? [];
  const role = roles.get(unquoted(altered ?? set ?? ''));
  // What is set in one database is in the manifest.
  if (!role) return /^ALTER ROLE \S+ IN DATABASE /.test(statement);
  if (set) role.settings.push(settingOf(unquoted(name), values));
  else {
    for (const [, no, attribute = ''] of attributes.matchAll(new RegExp(ATTRIBUTE, 'g')))
      role[attribute.toLowerCase() as 'login'] = no === undefined;
    role.connectionLimit = Number(limit ?? -1);
    role.validUntil = until ? unquoted(until) : null;
  }
  return true;
}

const newRole = (name: string): Role => ({
  ...{ name, superuser: false, inherit: true, createrole: false, createdb: false, login: false },
  ...{
    replication: false,
    bypassrls: false,
    connectionLimit: -1,
    validUntil: null,
    comment: null,
    settings: [],
  },
});

function settingOf(name: string, values: string): Setting {
  const items = [...values.matchAll(new RegExp(STRING, 'gu'))].map(([item]) => unquoted(item));
  if (!LIST.test(name)) return { name, value: items.join(', ') };
  return { name, value: items.map((item) => `"${item.replaceAll('"', '""')}"`).join(', ') };
}

function membershipOf(group: string, member: string, options: string): Membership {
  // Since 16, INHERIT is always said, and SET where it is false.
  const since16 = options.includes('INHERIT');
  return {
    ...{ role: unquoted(group), member: unquoted(member), admin: options.includes('ADMIN OPTION') },
    inherit: since16 ? options.includes('INHERIT TRUE') : null,
    set: since16 ? !options.includes('SET FALSE') : null,
  };
}

/** What a quoted name or a string says. */
function unquoted(text: string): string {
  if (text.startsWith('"')) return text.slice(1, -1).replaceAll('""', '"');
  if (text.startsWith("E'")) return text.slice(2, -1).replaceAll(/''|\\([\s\S])/g, (_, c) => c ?? "'");
  return text.startsWith("'") ? text.slice(1, -1).replaceAll("''", "'") : text;
}

const unread = (statement: string) =>
  new Corrupted(`what pg_dumpall said of roles has ${JSON.stringify(statement.slice(0, 100))}`);
