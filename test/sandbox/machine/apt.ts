import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

/**
 * How this machine reaches Debian's packages, as apt files for an image of another Debian release.
 * A machine behind a mirror or a proxy has said so to its own apt; nothing of it is in the repository.
 */
export interface AptFiles {
  /** `/etc/apt/apt.conf.d/90machine` */
  conf: string;
  /** `/etc/apt/sources.list.d/sandbox.sources` */
  sources: string;
}

const defaults = (suite: string): string => `Types: deb
URIs: http://deb.debian.org/debian
Suites: ${suite} ${suite}-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: ${suite}-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`;

function codename(): string | undefined {
  if (!existsSync('/etc/os-release')) return undefined;
  const release = readFileSync('/etc/os-release', 'utf8');
  return /^ID=debian$/m.test(release) ? /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1] : undefined;
}

function sourceStanzas(machineSuite: string, suite: string): string[] {
  const dir = '/etc/apt/sources.list.d';
  const deb822 = existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith('.sources')) : [];
  const stanzas = deb822.flatMap((name) => readFileSync(join(dir, name), 'utf8').split(/\n\s*\n/));
  const list = existsSync('/etc/apt/sources.list') ? readFileSync('/etc/apt/sources.list', 'utf8') : '';
  for (const line of list.split('\n')) {
    const found = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.trim());
    if (found) stanzas.push(`Types: deb\nURIs: ${found[1]}\nSuites: ${found[2]}\nComponents: ${found[3]}`);
  }
  return stanzas
    .filter((text) => new RegExp(`^Suites:.*\\b${machineSuite}`, 'm').test(text))
    .map((text) => text.replaceAll(machineSuite, suite).trim());
}

/** The machine's apt configuration, for Debian `suite`. */
export async function aptFiles(suite: string): Promise<AptFiles> {
  const machine = codename();
  const dump = machine ? await execa('apt-config', ['dump', 'Acquire'], { reject: false }) : undefined;
  const conf = (dump?.stdout ?? '')
    .split('\n')
    .filter((line) => /^Acquire::(https?|Check-|Retries)/i.test(line));
  const sources = machine ? sourceStanzas(machine, suite) : [];
  return {
    conf: `${conf.join('\n')}\n`,
    sources: sources.length > 0 ? `${sources.join('\n\n')}\n` : defaults(suite),
  };
}
