import { execa } from 'execa';
import type { Scripts } from './scripts.ts';

/** Runs SQL in the app's database, as the superuser of its container. */
export async function sql(env: Scripts['env'], statement: string, database = 'bloaty'): Promise<string> {
  const psql = ['psql', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-d', database];
  const { stdout } = await execa('docker', ['compose', 'exec', '-T', 'db', ...psql, '-c', statement], {
    env,
    cwd: env['APP_DIR'] ?? '/',
  });
  return stdout;
}
