import type { ImageReference } from '../image-reference.ts';
import { parseImage } from '../image-reference.ts';
import { type DeploymentRecord, sameImages } from '../record.ts';
import type { Pin, Release } from '../strategy.ts';
import { type ComposeApp, type Model, servicesOf } from './app.ts';
import { type Container, containersOf } from './containers.ts';

/** The containers of the app's images, by service. */
export async function appContainers(
  app: ComposeApp,
  model: Model,
  images: readonly ImageReference[],
): Promise<Map<string, Container[]>> {
  const services = [...servicesOf(model, images).keys()];
  const all = await containersOf(app, model.name, services);
  return new Map(services.map((name) => [name, all.filter(({ service }) => service === name)]));
}

/** What runs, if each service runs one image and every one runs; named as the records name it. */
export function runningRelease(
  containers: ReadonlyMap<string, readonly Container[]>,
  known: readonly Release[],
): Release | undefined {
  const images: Record<string, Pin> = {};
  for (const [service, all] of containers) {
    const [first, ...more] = all;
    if (
      !first ||
      all.some((one) => one.status !== 'running') ||
      more.some((one) => one.imageId !== first.imageId)
    )
      return undefined;
    images[service] = { reference: first.image, id: first.imageId };
  }
  const found = { version: versionOf(Object.values(images)), images };
  return known.findLast((one) => sameImages(one, found)) ?? found;
}

/** For images that no record knows, their tags are the best name there is. */
const versionOf = (pins: readonly Pin[]): string => [...new Set(pins.map(tagOf))].join(' and ') || 'nothing';

function tagOf({ reference, id }: Pin): string {
  const short = id.slice(7, 19);
  try {
    return parseImage(reference).tag ?? short;
  } catch {
    return short;
  }
}

/** What each service runs, for a person. */
export function describeContainers(
  containers: ReadonlyMap<string, readonly Container[]>,
  known: readonly DeploymentRecord[],
): string {
  const name = (one: Container) => {
    const record = known.findLast((record) => record.images[one.service]?.id === one.imageId);
    const state = one.status === 'running' ? '' : ` (${one.status})`;
    return `${record?.version ?? one.image}${state}`;
  };
  return [...containers]
    .map(([service, all]) => `${service} runs ${[...new Set(all.map(name))].join(' and ') || 'nothing'}`)
    .join(', ');
}
