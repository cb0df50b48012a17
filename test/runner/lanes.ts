import { execa } from 'execa';
import { duration } from '../../lib/format.ts';

/** A sandbox in which one file of tests runs after the other. */
interface Lane {
  env: NodeJS.ProcessEnv;
  /** The `export` lines with which tests find it. */
  exports: string;
}

/** No file takes nearly as long; what hangs has to end. */
const FILE_MAX_MS = 40 * 60_000;

const bats = ['node_modules/bats/bin/bats', '--print-output-on-failure', '--timing', '--formatter', 'tap'];
const sandbox = async (env: NodeJS.ProcessEnv, command: 'up' | 'down') => {
  const { stdout } = await execa('tsx', ['test/sandbox/cli.ts', command], {
    ...{ env, preferLocal: true, stderr: 'inherit' },
  });
  return stdout;
};

/**
 * Runs the files in as many sandboxes at once; each takes the next file when it has done one. Files that failed are run
 * once more at the end, with the machine to themselves: what fails then is a failure, what passes is told of by name.
 * @throws Error with the tests that failed
 */
export async function runInLanes(files: readonly string[], count: number, name: string): Promise<void> {
  const waiting = [...files];
  const again: string[] = [];
  const failed: string[] = [];
  const lanes: Lane[] = [];
  // Whoever interrupts it interrupts the tests that run; no others begin, and the sandboxes are taken down.
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    waiting.splice(0);
  };
  // It has to stay: with no listener left, what watches over child processes ends this one at once.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt);
  try {
    // One after the other: the first may have images to build.
    for (let n = 1; n <= count; n += 1) {
      const env = { OPSBOOK_SANDBOX: `${name}${n}` };
      lanes.push({ env, exports: '' });
      lanes[n - 1] = { env, exports: await sandbox(env, 'up') };
    }
    await Promise.all(
      lanes.map(async (lane) => {
        for (let file = waiting.shift(); file; file = waiting.shift())
          if ((await runFile(file, lane)).length > 0) again.push(file);
      }),
    );
    if (interrupted) throw new Error('interrupted');
    for (const file of again) {
      const tests = await runFile(file, lanes[0]!);
      if (tests.length === 0) process.stdout.write(`! ${file} failed beside others, and passed by itself\n`);
      failed.push(...tests);
    }
  } finally {
    await Promise.allSettled(lanes.map(({ env }) => sandbox(env, 'down')));
  }
  if (failed.length > 0) throw new Error(`failed:\n${failed.map((test) => `  ${test}`).join('\n')}`);
}

/** Runs one file and says how it went, all at once, so that lanes do not mix. @returns the tests that failed */
async function runFile(file: string, { env, exports }: Lane): Promise<string[]> {
  const started = performance.now();
  // The file's own exit code is that of bats; what it says tells which tests it was.
  const argv = ['-c', 'eval "$1"; shift; exec "$@"', 'lane', exports, ...bats, file];
  const { stdout, stderr, exitCode } = await execa('bash', argv, {
    env,
    reject: false,
    timeout: FILE_MAX_MS,
  });
  const lines = stdout.split('\n');
  const failed = lines.filter((line) => line.startsWith('not ok '));
  const passed = lines.filter((line) => line.startsWith('ok ')).length;
  const took = duration(performance.now() - started);
  const ended = exitCode === 0 && passed > 0 ? '' : `, exit ${exitCode}`;
  // Of a file that passed, the line says it all.
  const details = ended === '' && failed.length === 0 ? '' : `${stdout}\n${stderr}\n`;
  process.stdout.write(`${file}: ${passed} passed, ${failed.length} failed${ended} (${took})\n${details}`);
  if (failed.length === 0 && ended !== '') return [`${file}${ended}, ${passed} tests`];
  return failed.map((line) => `${file}: ${line}`);
}
