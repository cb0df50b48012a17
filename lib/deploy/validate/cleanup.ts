import type { Command } from '../../command.ts';
import { count } from '../../format.ts';
import type { Host } from '../../host.ts';
import type { Context } from '../../script.ts';
import { LABEL } from './project.ts';

interface Mine {
  name: string;
  mark: string;
}

/** What validations of this checkout made, by id or name. */
export async function ours(
  host: Host,
  kind: 'container' | 'network' | 'volume',
  { mark }: Pick<Mine, 'mark'>,
): Promise<string[]> {
  const all = kind === 'container' ? ['--all'] : [];
  const filter = ['--filter', `label=${LABEL}=${mark}`];
  const text = await host.run({ argv: ['docker', kind, 'ls', ...all, '--quiet', ...filter] });
  return text.split('\n').filter(Boolean);
}

/**
 * Removes the containers and networks that validations of this checkout made, and of their volumes those that Compose
 * named after the validation's project: one with a name of its own could be another project's tomorrow, and is kept.
 */
export async function cleanUp(
  project: Mine,
  { change, host, report }: Pick<Context, 'change' | 'host' | 'report'>,
): Promise<void> {
  const [containers, networks, volumes] = await Promise.all([
    ours(host, 'container', project),
    ours(host, 'network', project),
    ours(host, 'volume', project),
  ]);
  const own = volumes.filter((volume) => volume.startsWith(`${project.name}_`));
  for (const volume of volumes.filter((one) => !own.includes(one)))
    report.info(`= the volume ${volume} is kept: its name is one that other projects may use`);
  const remove: Array<[string, string[], Command]> = [
    // Their anonymous volumes with them; those that have a name stay.
    ['container', containers, { argv: ['docker', 'rm', '--force', '--volumes', ...containers] }],
    ['network', networks, { argv: ['docker', 'network', 'rm', ...networks] }],
    ['volume', own, { argv: ['docker', 'volume', 'rm', ...own] }],
  ];
  if (remove.every(([, names]) => names.length === 0))
    return report.info(`= nothing of ${project.name} is left here`);
  for (const [noun, names, command] of remove)
    if (names.length > 0)
      await change(`remove ${count(names.length, noun)}`, [command], () => host.run(command));
}
