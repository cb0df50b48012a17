import { posix } from 'node:path';
import { CommandFailure } from '../../command.ts';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { bytes } from '../../format.ts';
import type { Host } from '../../host.ts';
import type { Facts } from './facts.ts';
import { askFacts, parseFacts } from './facts.ts';
import { shell } from './item.ts';
import type { SetupSettings } from './plan.ts';
import { type System, systemNames, systemOf } from './system.ts';

/** Images of an app take more; below this not even Docker and opsbook fit. */
const FREE_MB = 2500;

/** What the host says of itself. @throws Failure where its user cannot become root */
export async function facts(host: Host, { OPSBOOK_DIR, APP }: SetupSettings): Promise<Facts> {
  try {
    return parseFacts(await host.run(askFacts(OPSBOOK_DIR, APP)));
  } catch (error) {
    if (!(error instanceof CommandFailure) || !/sudo/.test(`${error.words}${error.stderr}`)) throw error;
    throw new Failure(`${host.name}: this user cannot become root: ${error.words}`, {
      next: 'log in as root, or as a user whose sudo asks for no password',
      cause: error,
    });
  }
}

/** What speaks against a set-up, all of it. @throws Problems */
export async function preflight(host: Host, known: Facts, settings: SetupSettings): Promise<System> {
  const system = systemOf(known);
  await checkAll([
    () => refuseSystem(host, known, system),
    () => refuseMachine(host, known),
    () => {
      if (known.freeMb >= FREE_MB) return;
      throw new Failure(
        `${host.name}: ${bytes(known.freeMb * 1048576)} are free on /, ${bytes(FREE_MB * 1048576)} are needed`,
        { next: 'make room, or take a larger disk' },
      );
    },
    () => {
      if (settings.OPSBOOK_REPOSITORY || known.opsbook) return;
      throw new Failure(`${host.name}: opsbook is not there, and OPSBOOK_REPOSITORY is not set`, {
        next: 'set OPSBOOK_REPOSITORY, or copy this checkout to OPSBOOK_DIR on the host',
      });
    },
    () => refuseName(host, known, settings),
    () => refusePlaces(settings),
    () => system && reachable(host, system),
  ]);
  return system!;
}

function refuseSystem(host: Host, { os, version, systemd }: Facts, system: System | undefined): void {
  if (!system)
    throw new Failure(`${host.name} runs ${os || 'an unknown system'} ${version}, which no set-up is for`, {
      next: `use one of ${systemNames.join(', ')}`,
    });
  if (!systemd)
    throw new Failure(`${host.name} was not booted by systemd, which starts Docker, cron and the app`, {
      next: 'use an image of the distribution for virtual machines',
    });
}

function refuseMachine(host: Host, { machine }: Facts): void {
  if (machine === 'x86_64' || machine === 'aarch64') return;
  throw new Failure(`${host.name} is a ${machine} machine, for which there are no pinned binaries`, {
    next: 'use x86_64 or aarch64',
  });
}

function refuseName(host: Host, { taken }: Facts, { APP }: SetupSettings): void {
  if (!taken) return;
  throw new Failure(
    `APP=${APP}: ${host.name} has a ${APP}.service of its own, which the app's would replace`,
    {
      exit: EXIT.usage,
      next: 'give the app another name',
    },
  );
}

/** Directories of the system: a set-up would give them to the app's user. */
const SYSTEM = /^\/(bin|boot|dev|etc|lib\d*|proc|root|run|sbin|sys|usr)(\/|$)|^\/[^/]*$|^\/var\/[^/]*$/;

/** @throws Problems naming each setting that names a directory of the system */
export async function refusePlaces({ APP_DIR, APP_DIRECTORIES = [] }: SetupSettings): Promise<void> {
  const refuse = (name: string, path: string) => () => {
    if (!SYSTEM.test(posix.resolve(APP_DIR, path))) return;
    throw new Failure(`${name}=${path}: is the system's, not the app's`, {
      exit: EXIT.usage,
      next: 'name a directory of the app, such as /opt/bloaty',
    });
  };
  await checkAll([
    refuse('APP_DIR', APP_DIR),
    ...APP_DIRECTORIES.map((path) => refuse('APP_DIRECTORIES', path)),
  ]);
}

/** The first index of each of apt's sources is fetched: by apt's own program, through apt's own proxy. */
const APT_SOURCES = `t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; failed=
for uri in $(apt-get update --print-uris 2>/dev/null | sed -n "s/^'\\([^']*\\)'.*/\\1/p" | awk -F / '!seen[$3]++'); do
  /usr/lib/apt/apt-helper -o Acquire::Retries=1 download-file "$uri" "$t/it" >/dev/null 2>&1 || failed="$failed $uri"
done
[ -z "$failed" ] || { echo "cannot reach$failed" >&2; exit 1; }`;

async function reachable(host: Host, { packages }: System): Promise<void> {
  const look = packages === 'apt' ? shell(APT_SOURCES) : shell('dnf -q makecache');
  try {
    await host.run(look);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${host.name}: its package sources do not answer: ${error.words}`, {
      next: 'check its network, its DNS and its package sources',
      cause: error,
    });
  }
}
