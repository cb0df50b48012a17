import { flag, option } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import { remoteSettings } from '../../lib/server/remote.ts';

await script(import.meta, {
  does: "Look after the app on its hosts: logs, status, restart, migrate, exec, shell, or a command of the app's own",
  step: 'Manage the app, from anywhere',
  example: 'npx tsx scripts/server/remote.ts logs web --since 1h --grep error --target ssm://tag:Name=bloaty',
  settings: remoteSettings,
  operands: {
    '<verb>':
      'logs, status, restart, migrate, create-user EMAIL, exec, shell, opsbook AREA/SCRIPT, or the <name> of a REMOTE_<NAME>',
    '[words...]': 'services, operands, or a command; each word stays one',
  },
  flags: {
    service: option<string>('--service <name>', 'run in this service instead of APP_SERVICE'),
    tail: option('--tail <lines>', 'logs: so many lines of each service (100, all with --since)', parseCount),
    since: option<string>('--since <age>', 'logs: not older than 10m, 2h, or a time'),
    follow: flag('--follow', 'logs: go on until interrupted'),
    grep: option('--grep <pattern>', 'logs: only lines that match this regular expression', parsePattern),
    passwordStdin: flag('--password-stdin', 'create-user: the password is the first line of standard input'),
  },
  literalAfter: ['exec', 'shell', 'opsbook'],
  changes: true,
  reports: true,
  reaches: 'hosts',
  async run(context) {
    const { remote } = await import('../../lib/server/remote.ts');
    await remote(context);
  },
});

function parseCount(raw: string): number {
  if (!/^\d+$/.test(raw)) throw new Error('is not a number of lines');
  return Number(raw);
}

function parsePattern(raw: string): RegExp {
  return new RegExp(raw);
}
