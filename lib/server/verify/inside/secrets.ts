import type { Host } from '../../../host.ts';
import { ownScript } from '../../../own-script.ts';
import type { Context } from '../../../script.ts';
import { ok, problem, type Row, unknown } from '../row.ts';

interface Drift {
  where: string;
  name: string;
  what: string;
}

const FOUND = 3;
const EXPECTED = 'the store, the env file and the containers agree';

/** Whether a host has the secrets of the store; of secrets only the names are told. */
export async function secretRows(
  { target }: Host,
  context: Pick<Context, 'envFiles' | 'signal'>,
): Promise<Row[]> {
  const args = ['--check', '--json', '--target', target];
  const { code, stdout, error, next } = await ownScript('server/fetch-secrets', args, context);
  if (code !== 0 && code !== FOUND) return [unknown('secrets', error, next)];
  const { drift } = JSON.parse(stdout) as { drift: Drift[] };
  if (drift.length === 0) return [ok('secrets', EXPECTED, EXPECTED)];
  const lines = drift.map(({ where, name, what }) => `${name}: ${what} (${where})`);
  const names = [...new Set(drift.map(({ name }) => name))];
  const todo = 'run fetch-secrets, and recreate the services that it names';
  return [{ ...problem('secrets', `they differ in ${names.join(', ')}`, EXPECTED, todo), lines }];
}
