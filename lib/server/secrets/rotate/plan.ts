import { EXIT, Failure } from '../../../failure.ts';
import type { Host } from '../../../host.ts';
import type { Secret } from '../../../secret.ts';
import { containersOf, environments, type Service } from '../containers.ts';
import { draw, HEX_32 } from '../generator.ts';
import { type Made, makeFile } from '../make.ts';
import { type EnvFile, needFile, readTemplate, type SecretsSettings } from '../place.ts';
import { readSecrets, type Secrets, secretsOf } from '../secrets.ts';
import { openStores } from '../store.ts';
import { askedFor, generators, type Template } from '../template.ts';
import type { Journal, Rotation } from './journal.ts';
import { type Role, rolesWith } from './role.ts';
import { type RoleServer, roleServer } from './server.ts';

/** All that a rotation has to do with, looked at before anything is changed. */
export interface Plan {
  readonly rotation: Rotation;
  /** It was begun by another run. */
  readonly continued: boolean;
  readonly file: EnvFile;
  readonly secrets: Secrets;
  readonly roles: ReadonlyArray<{ role: Role; server: RoleServer }>;
  /** The file with the old value, and with the new one. */
  readonly old: string;
  readonly made: Made;
  /** Services that are told the old value, or something that is made of it. */
  readonly users: readonly string[];
}

/** @throws Failure when the secret cannot be rotated as things are */
export async function planRotation(
  name: string,
  settings: SecretsSettings,
  host: Host,
  journal: Journal,
): Promise<Plan> {
  const pending = await journal.pending();
  if (pending && pending.name !== name)
    throw new Failure(`the rotation of ${pending.name}, begun ${pending.began}, has not ended`, {
      next: `npx tsx scripts/server/rotate-secret.ts ${pending.name}`,
    });
  const file = await needFile(host, settings);
  const template = await readTemplate(host, settings);
  const stores = await openStores(settings.SECRETS_FROM ?? [], settings.AWS_REGION);
  const asked = template ? askedFor(template).all : new Set(file.entries.keys());
  const secrets = stores.length > 0 ? await readSecrets(stores) : secretsOf(file.entries, asked);
  const before = pending?.before ?? currentValue(name, secrets, file);
  const services = await environments(host, settings);
  const passwords = [before, ...(pending ? [pending.after] : [])].map((value) => value.reveal());
  const containers = await containersOf(host, settings);
  const servers = new Set(containers.filter((found) => found.isPostgres).map((found) => found.name));
  const roles = reachable(rolesWith(passwords, services, servers), host, containers);
  const after = pending?.after ?? newValue(name, template, roles.length > 0);

  const from = stores.map(({ uri }) => uri).join(' and ') || 'the template';
  const make = (value: Secret) =>
    makeFile(file, template, { ...secrets, values: new Map([...secrets.values, [name, value]]) }, { from });
  const made = make(after);
  const rotation = pending ?? { name, before, after, began: new Date().toISOString(), verifiers: {} };
  return {
    ...{ rotation, continued: pending !== undefined, file, secrets, roles, made },
    old: pending ? make(before).text : (file.text ?? ''),
    users: [...services].filter(([, has]) => tells(has, file, made)).map(([service]) => service),
  };
}

/** Whether a value that changes is told to a service. */
function tells(environment: ReadonlyMap<string, string>, file: EnvFile, { marks }: Made): boolean {
  const changing = [...marks].filter(([, mark]) => mark === '~').map(([name]) => file.entries.get(name));
  return [...environment.values()].some((value) => changing.includes(value));
}

/** @throws Failure unless the store and the file agree on what the secret is */
function currentValue(name: string, { values, stores }: Secrets, file: EnvFile): Secret {
  const value = values.get(name);
  const inFile = file.entries.get(name);
  if (!value)
    throw new Failure(`${stores.map(({ uri }) => uri).join(' and ') || file.path}: ${name} is missing`, {
      exit: EXIT.usage,
      next: 'correct the name',
    });
  if (inFile === undefined || inFile === value.reveal()) return value;
  throw new Failure(`${name} in ${file.path} is another one than in the store`, {
    next: 'find out which is in use: fetch-secrets --check',
  });
}

function newValue(name: string, template: Template | undefined, isPassword: boolean): Secret {
  const generator = template && generators(template).get(name);
  if (generator) return draw(generator);
  if (isPassword) return draw(HEX_32);
  throw new Failure(`${name} is no secret that is generated, and no password of a database of the app`, {
    exit: EXIT.usage,
    next: 'get a new one where it comes from, then push-secrets and fetch-secrets',
  });
}

/** @throws Failure when the server of a role does not run */
function reachable(roles: readonly Role[], host: Host, containers: readonly Service[]) {
  return roles.map((role) => {
    const found = containers.find(({ name, running }) => running && name === role.service);
    if (found) return { role, server: roleServer(host, found.container, role) };
    throw new Failure(`${role.service} does not run, and its role ${role.name} has this password`, {
      next: `docker compose up --detach ${role.service}`,
    });
  });
}
