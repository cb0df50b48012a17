import { writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { docker, ourLabel, publishedPort, removeContainer } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName, directory, stateDir } from '../names.ts';
import { network } from '../network.ts';
import { waitFor } from '../wait.ts';

const container = containerName('tour-pebble');
const ROOTS = 15_000;
export const ACME_SERVER = 'https://pebble.sandbox:14000/dir';

/**
 * A certificate authority for the droplet: a pebble of the tour's own, for which all names below .test are the droplet's.
 * The droplet knows its address, and trusts it.
 * @returns a file with its root, for this machine
 */
export async function startAuthority(engine: Engine, image: string, droplet: string): Promise<string> {
  await removeContainer(engine, container);
  const where = ['--network', network, '--publish', `127.0.0.1::${ROOTS}`, ...ourLabel];
  await docker(engine, ['run', '--detach', '--name', container, ...where, image, 'droplet.sandbox']);
  const ca = await docker(engine, ['exec', container, 'cat', '/etc/acme/ca.pem']);
  const port = await publishedPort(engine, container, ROOTS);
  const root = await waitFor('pebble to answer', 30, () =>
    fetchText(`https://localhost:${port}/roots/0`, ca),
  );
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  const address = (await docker(engine, ['inspect', '--format', format, container])).trim();
  const put = (script: string, input: string) =>
    docker(engine, ['exec', '--interactive', droplet, 'sh', '-euc', script], input);
  await put(
    'sed "/pebble.sandbox/d" /etc/hosts >/tmp/hosts; cat >>/tmp/hosts; cat /tmp/hosts >/etc/hosts',
    `${address} pebble.sandbox\n`,
  );
  await put('cat >/usr/local/share/ca-certificates/pebble.crt', ca);
  await put('cat >/usr/local/share/ca-certificates/issuer.crt; update-ca-certificates', root);
  const file = join(directory(stateDir, 'tour'), 'authority.pem');
  writeFileSync(file, root);
  return file;
}

/** An answer over https whose certificate is of this authority. */
function fetchText(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { ca }, (response) => {
      if (response.statusCode === 200) text(response).then(resolve, reject);
      else reject(new Error(`${url} answers ${response.statusCode}`));
    }).on('error', reject);
  });
}
