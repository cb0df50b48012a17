import { lookup } from 'node:dns/promises';
import { ask } from '../../../health.ts';
import { WebAddress } from '../../../web.ts';
import { lifetimeRow } from '../../certificates/row.ts';
import { served } from '../../certificates/served.ts';
import { ok, problem, type Row } from '../row.ts';

/** What a name resolves to here, against the addresses that it should have. */
export async function dnsRow(name: string, expected: readonly string[] | undefined): Promise<Row> {
  const wanted = expected?.join(', ') ?? 'an address (EXPECTED_ADDRESS is not set)';
  let found: string[];
  try {
    found = (await lookup(name, { all: true })).map(({ address }) => address);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const todo = `make a record for ${name} in DNS`;
    return problem('dns', `${name} does not resolve (${code})`, wanted, todo);
  }
  return dnsJudgement(name, [...new Set(found)], expected, wanted);
}

function dnsJudgement(
  name: string,
  found: readonly string[],
  expected: readonly string[] | undefined,
  wanted: string,
): Row {
  const text = `${name} is ${found.join(', ')}`;
  if (!expected) return ok('dns', text, wanted);
  const [stray, missing] = [
    found.filter((one) => !expected.includes(one)),
    expected.filter((one) => !found.includes(one)),
  ];
  if (stray.length + missing.length === 0) return ok('dns', text, wanted);
  return problem(
    'dns',
    stray.length > 0 ? text : `${name} is not ${missing.join(', ')}`,
    wanted,
    `correct the record of ${name}, or EXPECTED_ADDRESS; a change takes as long as its TTL`,
  );
}

/** The certificate that a browser gets: chain, names, and what is left of its lifetime. */
export async function tlsRow(name: string, now: Date, signal: AbortSignal): Promise<Row> {
  const expected = 'trusted, for this name, a quarter of its lifetime left';
  const { certificate, problem: wrong } = await served(name, signal);
  if (wrong || !certificate)
    return problem('tls', `${name}: ${wrong?.found}`, expected, wrong?.todo ?? 'run check-certificate');
  const { ok: well, found } = lifetimeRow('tls', certificate, now);
  if (well) return ok('tls', `${name}: ${found}`, expected);
  return problem(
    'tls',
    `${name}: ${found}`,
    expected,
    'run check-certificate: it says why it is not renewed',
  );
}

/** http must lead to https of the same name. */
export async function redirectRow(name: string, signal: AbortSignal): Promise<Row> {
  const expected = `http://${name} leads to https://${name}`;
  const { status, text, location } = await ask(new WebAddress(`http://${name}/`), signal);
  const bad = (found: string, todo: string) => problem('redirect', `http://${name} ${found}`, expected, todo);
  if (status === undefined) return bad(text, 'let the proxy listen on port 80, and redirect');
  if (!location)
    return bad(`answers ${status}, and does not redirect`, `redirect to https://${name} in the proxy`);
  const to = URL.parse(location, `http://${name}/`);
  if (to?.protocol === 'https:' && to.hostname === name && [301, 302, 307, 308].includes(status))
    return ok('redirect', `http://${name} answers ${status}`, expected);
  return bad(`answers ${status}, a redirect to ${location}`, `redirect to https://${name} in the proxy`);
}
