import { join } from 'node:path';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import { hostOpsbook, opsbookFailure, type Places, splitShared, typedHostOpsbook } from '../host-opsbook.ts';
import { type Command, cmd, type Host } from '../shell.ts';
import { streamed } from './streamed.ts';

const SCRIPT = join(import.meta.dirname, '../../scripts/backup/backup.ts');

type Backing = Pick<Context, 'hosts' | 'report'> & { settings: Places };

/** A backup that a deployment takes: what runs, and where. */
export interface Backup {
  command: Command;
  /** @throws Failure that says why no backup could be taken */
  preflight(): Promise<void>;
  /** @returns the id of the backup */
  take(): Promise<string>;
}

/**
 * The backup of the app where it runs, by the opsbook of its host with that host's settings; by this one where TARGET
 * is this machine, or has no host at all. Of several hosts the first takes it: the app is one.
 */
export function backupOf(
  { hosts, settings, report }: Backing,
  argv: readonly string[] = process.argv.slice(2),
): Backup {
  const [host] = hosts as readonly [Host];
  const here = host.target === 'local';
  const { shared } = splitShared(argv);
  const files = shared.filter((word, i) => !/^--target/.test(word) && shared[i - 1] !== '--target');
  const commandOf = (...words: string[]): Command =>
    here
      ? cmd`${process.execPath} ${process.execArgv} ${SCRIPT} --target local ${files} ${words}`
      : hostOpsbook(settings, 'backup/backup', words);
  const by = here
    ? 'npx tsx scripts/backup/backup.ts --dry-run'
    : typedHostOpsbook(shared, 'backup/backup', ['--dry-run']);
  const explained = (error: unknown) =>
    opsbookFailure(error, here ? '--backup: ' : `--backup on ${host.name}: `, `try it by itself: ${by}`);
  const prefixed = { info: (line: string) => report.info(`${host.name} | ${line}`) };
  // Here its output is ours: what it says of a step to the terminal or to GitHub would be said twice.
  const heard = () => (here ? host.run(commandOf()) : streamed(host, commandOf(), prefixed));
  return {
    command: commandOf(),
    async preflight() {
      await host.run(commandOf('--dry-run')).catch((error: unknown) => {
        throw explained(error);
      });
    },
    async take() {
      const said = await heard().catch((error: unknown) => {
        throw explained(error);
      });
      const id = said.trim().split('\n').at(-1) ?? '';
      if (/^\d{8}-\d{6}$/.test(id)) return id;
      throw new Failure(`--backup: the backup told no id, but "${id}"`, { next: `try it by itself: ${by}` });
    },
  };
}
