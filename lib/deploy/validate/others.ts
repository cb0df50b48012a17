import { checkAll, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { LABEL, type Named, type Project } from './project.ts';

/**
 * Refuses to start where something of another project would be shared: a volume, a directory that a database writes to,
 * a network on which our containers would answer to the names of theirs, a container of the same name. On a production
 * host all of them are there.
 * @throws Problems that name each
 */
export async function refuseOthers(host: Host, project: Project): Promise<void> {
  const { services, volumes = {}, networks = {} } = project.configuration;
  const { containers, byName } = await inspectContainers(host);
  const foreign = containers.filter(({ Config }) => Config.Labels[LABEL] !== project.mark);
  const called = Object.values(services).flatMap(({ container_name: name }) => name ?? []);
  await checkAll([
    ...Object.values(volumes).map((volume) => () => refuseForeign(host, 'volume', volume, project)),
    ...Object.values(networks).map((network) => () => refuseForeign(host, 'network', network, project)),
    () => refuseProject(foreign, project),
    ...called.map((name) => () => {
      if (byName.has(name) && foreign.includes(byName.get(name)!))
        throw taken(`the container ${name} is there already`);
    }),
    () => refuseDirectories(foreign, project),
  ]);
}

interface Inspected {
  Name: string;
  Config: { Labels: Record<string, string> };
  State: { Running: boolean };
  Mounts: Array<{ Type: string; Source: string; RW: boolean }>;
}

async function inspectContainers(
  host: Host,
): Promise<{ containers: Inspected[]; byName: Map<string, Inspected> }> {
  const ids = (await host.run({ argv: ['docker', 'ps', '--all', '--quiet'] })).split('\n').filter(Boolean);
  const containers =
    ids.length === 0
      ? []
      : (JSON.parse(await host.run({ argv: ['docker', 'container', 'inspect', ...ids] })) as Inspected[]);
  return { containers, byName: new Map(containers.map((one) => [one.Name.slice(1), one])) };
}

const taken = (what: string) =>
  new Failure(`${what}, and was not made by a validation of this checkout`, {
    next: 'validate on a machine where the app does not run, or give it another name in a compose file for validation',
  });

/** One of that name which is there has to carry our label. */
async function refuseForeign(
  host: Host,
  kind: 'volume' | 'network',
  { name, external }: Named,
  { mark }: Project,
): Promise<void> {
  const text = await host.run({
    argv: ['docker', kind, 'ls', '--filter', `name=^${name}$`, '--format', '{{.Name}}'],
  });
  // As a filter, the name of a volume is any part of it.
  if (!text.split('\n').includes(name)) return;
  const labels = await host.run({ argv: ['docker', kind, 'inspect', '--format', '{{json .Labels}}', name] });
  const ours = ((JSON.parse(labels) ?? {}) as Record<string, string>)[LABEL] === mark;
  if (external || !ours) throw taken(`the ${kind} ${name} is there already`);
}

function refuseProject(foreign: readonly Inspected[], { name }: Project): void {
  const [first] = foreign.filter(({ Config }) => Config.Labels['com.docker.compose.project'] === name);
  if (first) throw taken(`the container ${first.Name.slice(1)} of the project ${name} is there already`);
}

/** Two databases on one directory destroy it. */
function refuseDirectories(foreign: readonly Inspected[], { configuration }: Project): void {
  const ours = Object.values(configuration.services)
    .flatMap(({ volumes = [] }) => volumes)
    .filter(({ type, read_only }) => type === 'bind' && !read_only);
  for (const { Name, Mounts, State } of foreign) {
    const shared = Mounts.find(
      (mount) => mount.RW && State.Running && ours.some(({ source }) => source === mount.Source),
    );
    if (shared) throw taken(`${shared.Source} is written to by the container ${Name.slice(1)}, which runs`);
  }
}
