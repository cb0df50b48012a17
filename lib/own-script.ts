import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { CommandFailure } from './command.ts';
import { localHost } from './hosts/local.ts';
import type { Context } from './script.ts';

const SCRIPTS = join(import.meta.dirname, '..', 'scripts');

/** Who is told of a run is told by the script that started the other; it says what became of it as well. */
const UNHEARD = { NOTIFY_URL: '', HEARTBEAT_URL: '', GITHUB_ACTIONS: '' };

/** What became of another script. */
interface Ended {
  code: number;
  stdout: string;
  /** The problem that it ended with, and what to do about it; empty where it ended well. */
  error: string;
  next: string;
}

/**
 * Runs another script of ours to its end, as `area/name`, with the settings of this one: for what another area does,
 * whose parts are not ours to import.
 * @throws Failure when it did not come to an exit code
 */
export async function ownScript(
  name: string,
  args: readonly string[],
  { envFiles, signal }: Pick<Context, 'envFiles' | 'signal'>,
): Promise<Ended> {
  const files = envFiles.flatMap((file) => ['--env-file', file]);
  const script = join(SCRIPTS, `${name}.ts`);
  const running = localHost({ signal }).start({
    argv: [process.execPath, ...process.execArgv, script, ...args, ...files],
    env: UNHEARD,
  });
  running.stdin.end();
  const heard = Promise.all([text(running.stdout), text(running.stderr)]);
  let code = 0;
  try {
    await running.done;
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.code === null) throw error;
    code = error.code;
  }
  const [stdout, stderr] = await heard;
  const [error = '', next = ''] = code === 0 ? [] : lastError(stderr).split('. Next: ');
  return { code, stdout, error, next };
}

function lastError(stderr: string): string {
  const errors = stderr.split('\n').filter((line) => / error: /.test(line));
  return (errors.at(-1) ?? stderr.trimEnd().split('\n').at(-1) ?? '').replace(/^.*? error: /, '');
}
