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
  /** `/etc/apt/sources.list.d/sandbox.sources`; empty where the machine is no Debian: the image's own stay */
  sources: string;
}

function codename(): string | undefined {
  if (!existsSync('/etc/os-release')) return undefined;
  const release = readFileSync('/etc/os-release', 'utf8');
  return /^ID=debian$/m.test(release) ? /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1] : undefined;
}

function oneLineSources(): string[] {
  const file = '/etc/apt/sources.list';
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  return lines.flatMap((line) => {
    const found = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.trim());
    if (!found) return [];
    const key = /signed-by=(\S+)/.exec(found[1] ?? '')?.[1];
    const stanza = `Types: deb\nURIs: ${found[2]}\nSuites: ${found[3]}\nComponents: ${found[4]}`;
    return [key ? `${stanza}\nSigned-By: ${key}` : stanza];
  });
}

/** Debian's own sources; those of other vendors have keys that an image does not have. */
function isDebians(stanza: string, machineSuite: string): boolean {
  const field = (name: string): string => new RegExp(`^${name}:(.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';
  const suites = [machineSuite, `${machineSuite}-updates`, `${machineSuite}-security`];
  const key = field('Signed-By');
  return (
    /\bdeb\b/.test(field('Types')) &&
    /\bmain\b/.test(field('Components')) &&
    field('Suites')
      .split(/\s+/)
      .every((suite) => suites.includes(suite)) &&
    (key === '' || key.includes('debian-archive'))
  );
}

function sourceStanzas(machineSuite: string, suite: string): string[] {
  const dir = '/etc/apt/sources.list.d';
  const deb822 = existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith('.sources')) : [];
  const stanzas = deb822.flatMap((name) => readFileSync(join(dir, name), 'utf8').split(/\n\s*\n/));
  return [...stanzas, ...oneLineSources()]
    .filter((stanza) => isDebians(stanza, machineSuite))
    .map((text) => text.replaceAll(machineSuite, suite).trim());
}

/** The machine's apt configuration, for Debian `suite`. */
export async function aptFiles(suite: string): Promise<AptFiles> {
  const machine = codename();
  const dump = await execa('apt-config', ['dump', 'Acquire'], { reject: false });
  const conf = (dump.stdout ?? '')
    .split('\n')
    .filter((line) => /^Acquire::(https?|Check-|Retries)/i.test(line));
  const sources = machine ? sourceStanzas(machine, suite) : [];
  return {
    conf: `${conf.join('\n')}\n`,
    sources: sources.map((text) => `${text}\n\n`).join(''),
  };
}
