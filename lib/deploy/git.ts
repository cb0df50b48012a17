import { Failure } from '../failure.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';

/** `git …` in the current directory; it never asks for a password. */
export function git(...args: string[]): Command {
  return { ...cmd`git ${args}`, env: { GIT_TERMINAL_PROMPT: '0' } };
}

/** What a question to git is answered with; undefined where it exits with 1, which is its no. */
export async function answer(host: Host, ...args: string[]): Promise<string | undefined> {
  try {
    return (await host.run(git(...args))).trim();
  } catch (error) {
    if (error instanceof CommandFailure && error.code === 1) return undefined;
    throw error;
  }
}

/** The repository that the current directory is the top of. @throws Failure when it is none */
export async function refuseElsewhere(host: Host): Promise<void> {
  let above: string | undefined;
  try {
    above = await answer(host, 'rev-parse', '--show-cdup');
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.code === null) throw error;
    throw new Failure(`${process.cwd()}: ${error.words.replace(/^fatal: /, '')}`, {
      next: 'run it in the checkout of the app',
      cause: error,
    });
  }
  if (above) throw new Failure(`${process.cwd()} is not the top of its repository`, { next: `cd ${above}` });
}

/** The lines of `git status`, one for each file that is not as it was committed. */
export async function changedFiles(host: Host): Promise<string[]> {
  const text = await host.run(git('status', '--porcelain'));
  return text.split('\n').filter((line) => line !== '');
}

/** @throws Failure that names what is changed or untracked */
export async function refuseDirty(host: Host, next: string): Promise<void> {
  const changed = (await changedFiles(host)).map((line) => line.slice(3));
  if (changed.length === 0) return;
  const named = changed.slice(0, 3).join(', ');
  const more = changed.length > 3 ? ` and ${changed.length - 3} more` : '';
  throw new Failure(`not committed: ${named}${more}`, { next });
}

/** The objects that the remote has under these refs. @throws Failure when it does not answer */
export async function remoteRefs(
  host: Host,
  remote: string,
  ...refs: string[]
): Promise<Map<string, string>> {
  let text: string;
  try {
    text = await host.run(git('ls-remote', remote, ...refs));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${remote} does not answer: ${error.words.replace(/^fatal: /, '')}`, {
      next: `try it by hand: git ls-remote ${remote}`,
      cause: error,
    });
  }
  const lines = text.split('\n').filter((line) => line !== '');
  return new Map(lines.map((line) => line.split('\t').reverse() as [string, string]));
}

/** The page of a repository on GitHub, by the address of its remote; undefined for one elsewhere. */
export function pageOf(remoteUrl: string): string | undefined {
  const [, host, path] =
    /^(?:https?:\/\/(?:[^@/]*@)?|ssh:\/\/git@|git@)((?:[\w.-]+\.)?github\.[\w.-]+)(?::\d+)?[/:]([\w.-]+\/[\w.-]+?)(?:\.git)?\/?$/.exec(
      remoteUrl,
    ) ?? [];
  return host === undefined || path === undefined ? undefined : `https://${host}/${path}`;
}
