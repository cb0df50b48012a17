import { execa } from 'execa';
import { SandboxError } from '../names.ts';
import { say, step } from '../progress.ts';

/** True when the program is on PATH. */
export async function has(program: string): Promise<boolean> {
  const { exitCode } = await execa('which', [program], { reject: false });
  return exitCode === 0;
}

/**
 * Installs Debian packages on this machine and says so.
 * @throws SandboxError in one line when this is no Debian-like machine or we are not root
 */
export async function aptInstall(why: string, packages: string[]): Promise<void> {
  const wanted = packages.join(' ');
  if (!(await has('apt-get')) || process.getuid?.() !== 0) {
    throw new SandboxError(
      `${why} is missing: start Docker, or run as root on Debian or Ubuntu (apt: ${wanted})`,
    );
  }
  await step(`installing ${wanted} (${why} is missing)`, async () => {
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    await execa('apt-get', ['update', '-q'], { env, reject: false });
    const { exitCode, all } = await execa(
      'apt-get',
      ['install', '-qy', '--no-install-recommends', ...packages],
      {
        env,
        all: true,
        reject: false,
      },
    );
    if (exitCode !== 0) {
      const reason = all?.split('\n').findLast((line) => line.startsWith('E:')) ?? `exit ${exitCode}`;
      throw new SandboxError(`${why} is missing, and apt-get install ${wanted} failed: ${reason}`);
    }
  });
  say(`installed on this machine: ${wanted}`);
}
