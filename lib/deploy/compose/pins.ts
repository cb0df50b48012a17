import type { Pin, Release } from '../strategy.ts';

const HEAD = `# Written by opsbook: the version that runs here. It belongs into COMPOSE_FILE, after the app's own files, so that
# every docker compose command, also the one at boot, runs this version. Not to be edited: deploy, or roll back.
`;

/** The compose file that pins a release: JSON is YAML, and needs no rules of quoting. */
export function pinsFile({ version, commit, images }: Release): string {
  const services = Object.fromEntries(
    Object.entries(images).map(([service, { reference }]) => [service, { image: reference }]),
  );
  const ids = Object.fromEntries(Object.entries(images).map(([service, { id }]) => [service, id]));
  return `${HEAD}${JSON.stringify({ services, 'x-opsbook': { version, commit, ids } }, null, 2)}\n`;
}

/** What {@link pinsFile} wrote; undefined for a file that is empty or none of ours. */
export function parsePins(text: string): Release | undefined {
  const start = text.indexOf('{');
  if (start < 0) return undefined;
  const { services, 'x-opsbook': known } = JSON.parse(text.slice(start)) as {
    services: Record<string, { image: string }>;
    'x-opsbook'?: { version: string; commit?: string; ids: Record<string, string> };
  };
  if (!known) return undefined;
  const images = Object.entries(services).map(([service, { image }]): [string, Pin] => [
    service,
    { reference: image, id: known.ids[service] ?? '' },
  ]);
  return {
    version: known.version,
    ...(known.commit === undefined ? {} : { commit: known.commit }),
    images: Object.fromEntries(images),
  };
}
