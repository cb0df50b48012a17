import { Readable } from 'node:stream';
import { type Command, failureOf } from '../../../lib/command.ts';
import type { Item } from '../../../lib/server/converge.ts';
import type { SetupSettings } from '../../../lib/server/setup.ts';
import { systemNamed } from '../../../lib/server/setup-settings.ts';
import { type Host, type Running, shellOf } from '../../../lib/shell.ts';
import { droplet } from '../../../scripts/server/setup-droplet.ts';
import { instance } from '../../../scripts/server/setup-ec2.ts';

/** Settings as the schema would make them of an env file. */
export const settings = (more: Partial<SetupSettings> = {}): SetupSettings =>
  ({
    ...{ APP: 'bloaty', APP_DIR: '/opt/bloaty', OPSBOOK_DIR: '/opt/opsbook', TARGET: [{ kind: 'local' }] },
    ...{ ACME_WEBROOT: '/var/www/certbot', PROXY_SERVICE: 'nginx', RENEW_SCHEDULE: '17 0,12 * * *' },
    ...more,
  }) as SetupSettings;

/** The items of a host of this system. */
export const itemsOf = (
  name: string,
  kind: 'ec2' | 'droplet',
  more: Partial<SetupSettings> = {},
): Promise<Item[]> =>
  (kind === 'ec2' ? instance : droplet)({
    ...{ system: systemNamed(name)!, settings: settings(more), source: undefined },
    facts: { login: 'root', sshPorts: [22] },
  });

/** What makes the item of this title. */
export function made(items: readonly Item[], title: RegExp): readonly Command[] {
  const found = items.filter((item) => title.test(item.title));
  if (found.length !== 1) throw new Error(`${found.length} items are called ${title}`);
  return found[0]!.make;
}

/** What a command does on the fake host: what it writes, or how it fails. */
type Answer = string | { code: number; stderr: string };

/**
 * A fake: systems that cannot be had here are not run. It answers what it was told to expect, and refuses anything else.
 */
export function strictHost(answer: (command: Command, input: string) => Answer | undefined): Host & {
  ran: Command[];
} {
  const ran: Command[] = [];
  const run = async (command: Command, input: unknown = ''): Promise<string> => {
    ran.push(command);
    const told = answer(command, String(input));
    if (told === undefined) throw new Error(`not expected: ${command.text}`);
    if (typeof told === 'string') return told;
    throw failureOf(command, { ...told, on: 'fake' })!;
  };
  const host: Host = {
    ...{ name: 'fake', target: 'ssh://fake', $: shellOf(run), run },
    start(command) {
      let done: Promise<void> = Promise.resolve();
      const stdin = { end: (text = '') => void started(text) } as unknown as Running['stdin'];
      const started = (text: string) => {
        done = run(command, text).then(() => {});
        done.catch(() => {});
      };
      const empty = () => Readable.from([]);
      return {
        ...{ stdin, stdout: empty(), stderr: empty(), kill() {} },
        get done() {
          return done;
        },
      };
    },
    get uninterrupted() {
      return host;
    },
  };
  return Object.assign(host, { ran });
}
