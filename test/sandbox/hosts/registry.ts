import { registryPort } from '../cloud/front/ecr/address.ts';
import { docker, tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';

/**
 * Leads the registry's name, an address of 127.0.0.1, to the registry on a host too: engines take plain HTTP from there
 * without being configured, so that one name of an image is good on this machine and on all hosts.
 */
export async function leadToRegistry(engine: Engine, container: string, name: string): Promise<void> {
  const port = name.split(':')[1]!;
  const script = `
    set -eu
    to=$(getent ahostsv4 aws.sandbox | awk '{ print $1; exit }'):${registryPort}
    echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
    add() { iptables -t nat -C "$@" 2>/dev/null || iptables -t nat -A "$@"; }
    add OUTPUT -p tcp -d 127.0.0.1 --dport ${port} -j DNAT --to-destination "$to"
    add POSTROUTING -p tcp -d "\${to%:*}" --dport ${registryPort} -j MASQUERADE`;
  await docker(engine, ['exec', container, 'sh', '-c', script]);
}

/** The same for a machine booted by systemd, which has no packet filter before one is installed: by systemd's own proxy. */
export async function proxyToRegistry(engine: Engine, container: string, name: string): Promise<void> {
  const port = name.split(':')[1]!;
  const proxy = [
    'systemd-run',
    '--quiet',
    '--unit=sandbox-registry',
    `--socket-property=ListenStream=127.0.0.1:${port}`,
  ];
  const argv = [...proxy, '/usr/lib/systemd/systemd-socket-proxyd', `aws.sandbox:${registryPort}`];
  await tryDocker(engine, ['exec', container, ...argv]); // refused where it already runs
}
