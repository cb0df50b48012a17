import type { Command } from '../../command.ts';
import { checkAll, Failure } from '../../failure.ts';
import type { ImageReference } from '../image-reference.ts';
import type { DeploySettings } from '../settings.ts';
import type { Pin, Prospect, Release } from '../strategy.ts';
import { type ComposeApp, type Model, servicesOf } from './app.ts';
import type { Container } from './containers.ts';
import { engineOf, type Found, findImage, localImage, obtainImage, pullCommand } from './image.ts';
import type { Caller } from './login.ts';
import { refuseFullDisk, refuseNoMigration, refuseUnrollable } from './preflight.ts';
import { besideCommand, drainCommand, upCommand } from './switch.ts';

type Running = ReadonlyMap<string, readonly Container[]>;

/** Looks at everything that an update needs. @throws Problems with all that is wrong */
export async function prospectOf(
  app: ComposeApp,
  model: Model,
  settings: DeploySettings,
  wanted: { version: string; images: readonly ImageReference[] },
  running: Running,
  caller: Caller,
): Promise<Prospect> {
  const engine = await engineOf(app.host);
  const services = servicesOf(model, settings.IMAGE);
  const found = new Map<string, Found>();
  await checkAll([
    () => refuseUnrollable(model, settings.ROLLOUT_SERVICES ?? [], [...services.keys()]),
    () => refuseNoMigration(settings, [...services.keys()]),
    ...wanted.images.map((image) => async () => {
      const one = await findImage(app.host, engine, image, caller);
      for (const [service, { registry, repository }] of services)
        if (registry === image.registry && repository === image.repository) found.set(service, one);
    }),
  ]);
  await refuseFullDisk(app.host, engine, [...new Set(found.values())]);
  return prospect(app, settings, { version: wanted.version }, found, running, caller);
}

/** Looks whether a release that ran here can run again: its images have to be on the host, or in their registry. */
export async function prospectOfReturn(
  app: ComposeApp,
  settings: DeploySettings,
  release: Release,
  running: Running,
  caller: Caller,
): Promise<Prospect> {
  const found = new Map<string, Found>();
  await checkAll(
    Object.entries(release.images).map(([service, { reference, id }]) => async () => {
      const named = await localImage(app.host, reference);
      if (named?.id === id) return void found.set(service, { reference, id, bytes: 0 });
      // A tag that has moved since is moved back.
      if (await localImage(app.host, id))
        return void found.set(service, { reference, id, bytes: 0, moved: true });
      throw new Failure(
        `the image of ${release.version}, ${reference}, is not on ${app.host.name} any more`,
        {
          next: `deploy it anew: update-deployment ${release.version}`,
        },
      );
    }),
  );
  return prospect(app, settings, release, found, running, caller);
}

function prospect(
  app: ComposeApp,
  { ROLLOUT_SERVICES: rollout = [] }: DeploySettings,
  { version, commit }: { version: string; commit?: string },
  found: ReadonlyMap<string, Found>,
  running: Running,
  caller: Caller,
): Prospect {
  const named = { version, ...(commit === undefined ? {} : { commit }) };
  const images = [...new Map([...found.values()].map((one) => [one.reference, one])).values()];
  return {
    ...named,
    changes: changesOf(new Map([...found].map(([service, { reference }]) => [service, reference])), running),
    plan: {
      obtain: images.map((one) =>
        one.id === undefined ? pullCommand(one.reference) : `${one.reference} is on the host`,
      ),
      migrate: [],
      switch: switchPlan(app, rollout, running),
    },
    async obtain() {
      const pins: Record<string, Pin> = {};
      for (const [service, image] of found) pins[service] = await obtainImage(app.host, image, caller);
      return { ...named, images: pins };
    },
  };
}

export const changesOf = (names: ReadonlyMap<string, string>, running: Running): Prospect['changes'] =>
  [...names].map(([service, next]) => ({
    ...{ service, next },
    now: [...new Set((running.get(service) ?? []).map(({ image }) => image))].join(', ') || 'nothing',
  }));

/** The commands of a switch, as far as they are known before. */
export function switchPlan(app: ComposeApp, rollout: readonly string[], running: Running): Command[] {
  const old = (service: string) => (running.get(service) ?? []).map(({ name }) => name);
  return [
    ...rollout.map((service) => besideCommand(app, service, 2 * Math.max(1, old(service).length))),
    app.files.move('next.yml', 'deployed.yml'),
    ...rollout.filter((service) => old(service).length > 0).map((service) => drainCommand(old(service))),
    upCommand(app),
  ];
}
