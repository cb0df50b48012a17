import type { Tag } from '@aws-sdk/client-ecs';
import type { DeploymentRecord } from '../record.ts';
import type { Release } from '../strategy.ts';

/** A record has one tag: what was done when is its name, and how it went its value. */
const RECORD = 'opsbook:deployment:';
const LIMIT = 256;

/** ECS takes letters, digits, blanks and `+ - = . _ : / @` in tags: what else is in a message becomes a blank. */
const plain = (text: string): string =>
  text
    .replace(/[^\p{L}\p{N}+\-=._:/@]+/gu, ' ')
    .trim()
    .slice(0, LIMIT);

/** What a revision is, known from the moment in which it is registered. */
export function releaseTags({ version, commit }: Omit<Release, 'images'>, who: string): Tag[] {
  const tags = {
    'opsbook:version': version,
    ...(commit === undefined ? {} : { 'opsbook:commit': commit }),
    'opsbook:by': who,
  };
  return Object.entries(tags).map(([key, value]) => ({ key, value: plain(value) }));
}

/** The record of a deployment of a revision; `failed` is last, since it may have to be cut. */
export function recordTag(record: DeploymentRecord): Tag {
  const { at, did, who, from, migrated, backup, verified, failed, returnedTo, ms } = record;
  const facts = {
    did,
    verified: verified ? 'yes' : 'no',
    by: who,
    from,
    migrated: migrated ? 'yes' : 'no',
    backup,
    back: returnedTo,
    ms: String(Math.round(ms)),
    failed,
  };
  const words = Object.entries(facts).flatMap(([name, value]) => (value ? [`${name}=${value}`] : []));
  return { key: `${RECORD}${at}`, value: plain(words.join(' ')) };
}

export const hasRecords = (tags: Readonly<Record<string, string>>): boolean =>
  Object.keys(tags).some((name) => name.startsWith(RECORD));

/** The records that a revision's tags hold, oldest first. */
export function recordsIn(
  tags: Readonly<Record<string, string>>,
  images: Release['images'],
  revision: string,
): DeploymentRecord[] {
  const version = tags['opsbook:version'];
  if (version === undefined) return [];
  const commit = tags['opsbook:commit'];
  const names = Object.keys(tags).filter((name) => name.startsWith(RECORD));
  return names.sort().map((name) => {
    const [, before = '', failed] = /^(.*?)(?: failed=(.*))?$/.exec(tags[name] ?? '') ?? [];
    const facts = Object.fromEntries(before.split(' ').map((word) => word.split(/=(.*)/)));
    return {
      ...{ version, images, revision, at: name.slice(RECORD.length) },
      ...(commit === undefined ? {} : { commit }),
      did: facts.did as DeploymentRecord['did'],
      ...{ who: facts.by ?? '', from: facts.from, backup: facts.backup, returnedTo: facts.back, failed },
      ...{ migrated: facts.migrated === 'yes', verified: facts.verified === 'yes', ms: Number(facts.ms) },
    };
  });
}
