import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure, cmd } from '../command.ts';
import { EXIT, Failure } from '../failure.ts';
import { readHostFile, rewriteHostFile, runForSecret, writeHostFile } from '../host-files.ts';
import type { Report } from '../output.ts';
import { parseSecret, Secret } from '../secret.ts';
import type { Host } from '../shell.ts';
import { ident, psql, session, sql } from '../sql.ts';
import { stateFileOn } from '../state.ts';
import {
  askedFor,
  draw,
  type EnvFile,
  generators,
  HEX_32,
  type MadeFile,
  makeFile,
  needEnvFile,
  readTemplate,
  type Template,
} from './env-template.ts';
import type { SecretsSettings } from './secret-settings.ts';
import {
  changedMeanwhile,
  openStores,
  planPuts,
  readSecretsOrFile,
  type SecretStore,
  type Secrets,
  urisOf,
} from './secret-stores.ts';
import { type ComposeApp, type Container, composeAppOn, type Variables } from './stale.ts';

/** A rotation that began: all that another run needs to end it, or to undo it. */
export interface Rotation {
  readonly name: string;
  readonly before: Secret;
  readonly after: Secret;
  readonly began: string;
  /** What the server stored of the old password, by `SERVICE ROLE`. */
  readonly verifiers: Readonly<Record<string, Secret>>;
}

const STATE = 'rotation.json';

/** The rotation that another run began on the host and did not end. @throws Failure when its file is damaged */
async function pendingRotation(host: Host, appDir: string): Promise<Rotation | undefined> {
  // Looked for, not made: a dry run leaves no trace.
  const path = `${appDir}/.opsbook/${STATE}`;
  const text = await readHostFile(host, path);
  if (!text) return undefined;
  try {
    const { name, began, before, after, verifiers } = parseSecret<Written>(text);
    return {
      ...{ name, began, before: new Secret(before), after: new Secret(after) },
      verifiers: mapped(verifiers, (verifier) => new Secret(verifier)),
    };
  } catch (error) {
    throw new Failure(`${path} is damaged`, {
      next: 'check which password the database accepts, then remove the file',
      cause: error,
    });
  }
}

/** Writes a rotation for another run to end or undo, into a file that is as closed as the env file; without one, that it has ended. */
export async function noteRotation(host: Host, appDir: string, rotation?: Rotation): Promise<void> {
  const path = await stateFileOn(host, appDir, STATE);
  await writeHostFile(host, path, rotation ? JSON.stringify(revealed(rotation)) : '');
}

/** A rotation as it is written. */
type Written = Record<'name' | 'began' | 'before' | 'after', string> & { verifiers: Record<string, string> };

const revealed = ({ name, began, before, after, verifiers }: Rotation): Written => ({
  ...{ name, began, before: before.reveal(), after: after.reveal() },
  verifiers: mapped(verifiers, (verifier) => verifier.reveal()),
});

const mapped = <T, U>(record: Readonly<Record<string, T>>, make: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, make(value)]));

/** All that a rotation has to do with, read before anything is changed. */
export interface Plan {
  /** Its verifiers are not read yet, unless another run began it. */
  readonly rotation: Rotation;
  /** Another run began it. */
  readonly continued: boolean;
  readonly roles: readonly RoleOnServer[];
  /** The store that gets the new value; none for an app without one. */
  readonly stores: readonly SecretStore[];
  readonly file: EnvFile;
  /** The text of the file with the old value, and the file with the new one. */
  readonly old: string;
  readonly made: MadeFile;
  /** Services that are started with the old value, or with something that is made of it. */
  readonly users: readonly string[];
}

/** @throws Failure when the secret cannot be rotated as things are */
export async function planRotation(name: string, settings: SecretsSettings, host: Host): Promise<Plan> {
  const pending = await pendingRotation(host, settings.APP_DIR);
  if (pending && pending.name !== name)
    throw new Failure(`the rotation of ${pending.name}, begun ${pending.began}, has not ended`, {
      next: `npx tsx scripts/server/rotate-secret.ts ${pending.name}`,
    });
  const file = await needEnvFile(host, settings);
  const template = await readTemplate(host, settings);
  const stores = await openStores(settings);
  const asked = template ? askedFor(template).all : new Set(file.entries.keys());
  const secrets = await readSecretsOrFile(stores, file.entries, asked);
  const before = pending?.before ?? currentValue(name, secrets, file);
  const app = await composeAppOn(host, settings);
  const passwords = [before, ...(pending ? [pending.after] : [])].map((value) => value.reveal());
  const servers = new Set(app.containers.flatMap(({ isPostgres, service }) => (isPostgres ? [service] : [])));
  const roles = rolesWith(passwords, app.services, servers).map((role) => onServer(role, host, app));
  const after = pending?.after ?? newValue(name, template, roles.length > 0);
  const puts = await planPuts(secrets, new Map([[name, after]]));

  const make = (value: Secret) =>
    makeFile(file, template, { ...secrets, values: new Map([...secrets.values, [name, value]]) });
  const made = make(after);
  const rotation = pending ?? { name, before, after, began: new Date().toISOString(), verifiers: {} };
  return {
    rotation,
    continued: pending !== undefined,
    roles,
    stores: puts.map(({ store }) => store),
    file,
    made,
    old: pending ? make(before).text : (file.text ?? ''),
    users: [...app.services].filter(([, has]) => isUser(has, file, made)).map(([service]) => service),
  };
}

/** Names of the file whose value changes, and that were there before. */
export const changing = ({ marks: { byName, changed } }: MadeFile): string[] =>
  changed.filter((name) => byName[name] === '~');

/** Whether a service is started with a value that changes. */
function isUser(variables: Variables, file: EnvFile, made: MadeFile): boolean {
  const values = changing(made).map((name) => file.entries.get(name));
  return [...variables.values()].some((value) => values.includes(value));
}

/** @throws Failure unless the store and the file agree on what the secret is */
function currentValue(name: string, { values, stores }: Secrets, file: EnvFile): Secret {
  const value = values.get(name);
  const inFile = file.entries.get(name);
  if (!value)
    throw new Failure(`${urisOf(stores) || file.path}: ${name} is missing`, {
      exit: EXIT.usage,
      next: 'correct the name',
    });
  if (inFile === undefined || inFile === value.reveal()) return value;
  throw new Failure(`${name} differs between ${file.path} and the store`, {
    next: 'find out which is in use: fetch-secrets --check',
  });
}

function newValue(name: string, template: Template | undefined, isPassword: boolean): Secret {
  const generator = template && generators(template).get(name);
  if (generator) return draw(generator);
  if (isPassword) return draw(HEX_32);
  throw new Failure(`${name} is neither a generated secret nor the password of a database of the app`, {
    exit: EXIT.usage,
    next: 'get a new one where it comes from, then push-secrets and fetch-secrets',
  });
}

/** A role of a PostgreSQL server that runs as a service of the app. */
export interface Role {
  readonly service: string;
  readonly name: string;
  /** A database that it may log in to. */
  readonly database: string;
  /** Who may alter it, by the server's own socket. */
  readonly superuser: string;
}

/**
 * The roles whose password is one of `passwords`, by the variables of the services: the role that a PostgreSQL image
 * is started with, and those in the URLs by which services log in. `servers` are the services that are such an image:
 * with `env_file:` every service has the variable.
 * @throws Failure when a URL leads to a server that is not a service of the app, or no server is found
 */
export function rolesWith(
  passwords: readonly string[],
  services: ComposeApp['services'],
  servers: ReadonlySet<string>,
): Role[] {
  const roles = [...services].flatMap(([service, variables]) => [
    ...(servers.has(service) ? ofImage(service, variables, passwords) : []),
    ...[...variables].flatMap(([variable, text]) => ofUrl(service, variable, text, passwords, services)),
  ]);
  const user = [...services].find(([, has]) => passwords.includes(has.get('POSTGRES_PASSWORD') ?? ''));
  if (roles.length === 0 && user)
    throw new Failure(`${user[0]} has the password of a PostgreSQL server, but no server has a container`, {
      next: 'start the database: docker compose up --detach',
    });
  return [...new Map(roles.map((role) => [roleKey(role), role])).values()];
}

const roleKey = ({ service, name }: Role): string => `${service} ${name}`;

/** What the image of PostgreSQL, and those made like it, take the first password from. */
function ofImage(service: string, variables: Variables, passwords: readonly string[]): Role[] {
  if (!passwords.includes(variables.get('POSTGRES_PASSWORD') ?? '')) return [];
  const name = superuserOf(variables);
  return [{ service, name, database: variables.get('POSTGRES_DB') ?? name, superuser: name }];
}

const superuserOf = (variables: Variables | undefined) => variables?.get('POSTGRES_USER') ?? 'postgres';

function ofUrl(
  service: string,
  variable: string,
  text: string,
  passwords: readonly string[],
  services: ComposeApp['services'],
): Role[] {
  if (!/^postgres(ql)?(\+\w+)?:\/\//.test(text) || !URL.canParse(text)) return [];
  const { username, password, hostname, pathname } = new URL(text);
  if (!passwords.includes(decodeURIComponent(password))) return [];
  if (!services.has(hostname))
    throw new Failure(`${variable} of ${service} leads to ${hostname}, which is not a service of the app`, {
      exit: EXIT.usage,
      next: 'change the password there, then push-secrets and fetch-secrets',
    });
  const name = decodeURIComponent(username);
  const database = decodeURIComponent(pathname.slice(1)) || name;
  return [{ service: hostname, name, database, superuser: superuserOf(services.get(hostname)) }];
}

/** A role, as the container of its server reaches it. */
interface RoleOnServer extends Role {
  /** What the server stores of its password. */
  verifier(): Promise<Secret>;
  setVerifier(verifier: Secret, on: Host): Promise<void>;
  /**
   * Whether it may log in over TCP with this password.
   * @throws CommandFailure when it is not the password that keeps it out
   */
  admits(password: Secret): Promise<boolean>;
}

/** @throws Failure when the server of the role does not run */
function onServer(role: Role, host: Host, { containers }: ComposeApp): RoleOnServer {
  const container = runningContainer(role, containers);
  // By the server's socket, where its own user needs no password.
  const bySocket = cmd`${psql('postgres')} --username ${role.superuser}`;
  const asSuperuser = cmd`docker exec --interactive ${container} ${bySocket}`;
  // By the service's name, not by 127.0.0.1: PostgreSQL's image trusts everybody who comes from there.
  const byTcp = cmd`${psql(role.database)} --no-password --host ${role.service} --username ${role.name}`;
  const logIn = cmd`docker exec --env PGPASSWORD --env PGCONNECT_TIMEOUT ${container} ${byTcp} --command ${'SELECT 1'}`;
  return {
    ...role,
    async verifier() {
      const input = session(sql`SELECT rolpassword FROM pg_authid WHERE rolname = ${role.name}`);
      const found = (await runForSecret(host, asSuperuser, input)).trim();
      if (found) return new Secret(found);
      throw new Failure(`${role.service}: there is no role ${role.name} with a password`, {
        next: 'correct the user in the URL that the template makes',
      });
    },
    async setVerifier(verifier, on) {
      const input = session(sql`ALTER ROLE ${ident(role.name)} PASSWORD ${verifier.reveal()}`);
      await on.run(asSuperuser, new Secret(input));
    },
    async admits(password) {
      try {
        await host.run({ ...logIn, env: { PGPASSWORD: password, PGCONNECT_TIMEOUT: '10' } });
        return true;
      } catch (error) {
        if (error instanceof CommandFailure && /authentication failed/.test(error.stderr)) return false;
        throw error;
      }
    },
  };
}

function runningContainer({ service, name }: Role, containers: readonly Container[]): string {
  const found = containers.find((container) => container.running && container.service === service);
  if (found) return found.name;
  throw new Failure(`${service} is not running, and its role ${name} has this password`, {
    next: `docker compose up --detach ${service}`,
  });
}

/** What PostgreSQL's own clients use. */
const ITERATIONS = 4096;

/**
 * What PostgreSQL stores of a password (RFC 5802, RFC 7677). ALTER ROLE takes it in the place of the password, which
 * then is in no log of the server. For ASCII passwords only: others would have to be normalised first (SASLprep).
 */
export function scramVerifier(password: Secret, salt: Buffer = randomBytes(16)): Secret {
  const salted = pbkdf2Sync(password.reveal(), salt, ITERATIONS, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const server = hmac('Server Key').toString('base64');
  return new Secret(`SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${stored}:${server}`);
}

/**
 * Proves, before anything is changed, that each role takes the password that is to be replaced (or, when another run
 * was cut off, the new one).
 * @throws Failure when one takes neither
 */
export async function proveOld({ roles, rotation, continued }: Plan, report: Report): Promise<void> {
  for (const role of roles) {
    if (await role.admits(new Secret(randomBytes(16).toString('hex')))) {
      report.warn(`${role.service} lets ${role.name} in with any password: see its pg_hba.conf`);
      continue;
    }
    if (await role.admits(rotation.before)) continue;
    if (continued && (await role.admits(rotation.after))) continue;
    throw new Failure(`${role.service} does not accept the stored password of ${role.name}`, {
      next: `set the stored one by hand (ALTER ROLE ${role.name}), then rotate it`,
    });
  }
}

/** The rotation with what the servers store of the old password now, unless another run has noted it. */
export async function withVerifiers({ roles, rotation }: Plan): Promise<Rotation> {
  const verifiers: Record<string, Secret> = {};
  for (const role of roles)
    verifiers[roleKey(role)] = rotation.verifiers[roleKey(role)] ?? (await role.verifier());
  return { ...rotation, verifiers };
}

/** What a step of a rotation makes of what it changes: first `new`; `old` where the rotation is undone. */
export type Which = 'old' | 'new';

/** @param rotation with the verifiers of all roles */
export async function alterRole(
  role: RoleOnServer,
  { after, verifiers }: Rotation,
  which: Which,
  on: Host,
): Promise<void> {
  await role.setVerifier(which === 'new' ? scramVerifier(after) : (verifiers[roleKey(role)] as Secret), on);
}

/** @throws Failure where the store has neither the old value nor the new one */
export async function storeValue(
  store: SecretStore,
  { name, before, after }: Rotation,
  which: Which,
): Promise<void> {
  const [value, replaced] = which === 'new' ? [after, before] : [before, after];
  const stored = (await store.read()).values.get(name)?.reveal();
  if (stored === value.reveal()) return;
  if (stored !== replaced.reveal()) throw changedMeanwhile(store.uri, [name]);
  await store.write({ set: new Map([[name, value]]), remove: [] });
}

export async function writeEnvFile(
  { file: { path }, made, old }: Plan,
  which: Which,
  on: Host,
): Promise<void> {
  const text = which === 'new' ? made.text : old;
  const read = await readHostFile(on, path);
  if (read !== text) await rewriteHostFile(on, path, read, text);
}

const STARTS_WITHIN_MS = 60_000;

/** Logs in to each role with the new password. @throws Failure when one does not take it */
export async function proveNew({ roles, rotation }: Plan): Promise<void> {
  for (const role of roles)
    if (!(await admitsInTime(role, rotation.after)))
      throw new Failure(`${role.service} does not accept the new password of ${role.name}`, {
        next: 'check the log of the database',
      });
}

/** A server whose container is new may still be starting, if Compose has no health check to wait for. */
async function admitsInTime(role: RoleOnServer, password: Secret): Promise<boolean> {
  for (const end = Date.now() + STARTS_WITHIN_MS; ; await sleep(200)) {
    try {
      return await role.admits(password);
    } catch (error) {
      if (!(error instanceof CommandFailure) || Date.now() > end) throw error;
    }
  }
}
