import { quote } from '../../../command.ts';
import { envFileOf } from '../../../compose.ts';
import { hostSettings } from '../../../host-opsbook.ts';
import { directory, emptyFile, file, noFile } from '../file.ts';
import type { Item } from '../item.ts';
import type { App } from './app.ts';

export interface Job {
  name: 'backup' | 'prune' | 'drill' | 'renew' | 'verify';
  /** In opsbook's directory. */
  script: string;
  user: string;
  /** Five fields; without one there is no entry. */
  schedule: string | undefined;
}

const LOGS = '/var/log/opsbook';

/** Debian's cron reads no file with a dot in its name, and says nothing. */
const cronName = (app: string, job: string) => `${app.replaceAll('.', '-')}-${job}`;

/** In a crontab an unescaped % ends the command, and the rest is its input. */
const cronText = (command: string) => command.replaceAll('%', '\\%');

/** The entries, the logs that their users can write, and what rotates these. */
export function cronJobs(app: App, opsbookDir: string, jobs: readonly Job[]): Item[] {
  const wanted = jobs.filter(({ schedule }) => schedule !== undefined);
  return [
    directory(LOGS, LOGS, '755', 'root:root'),
    ...wanted.map((job) =>
      emptyFile(`${logOf(app, job)} is ${job.user}'s`, logOf(app, job), '640', `${job.user}:${job.user}`),
    ),
    ...(wanted.length > 0 ? [rotation(app, wanted)] : []),
    ...jobs.map((job) => {
      const path = `/etc/cron.d/${cronName(app.name, job.name)}`;
      if (job.schedule === undefined) return noFile(`no ${path}`, path);
      const title = `${path} (${job.schedule}, as ${job.user})`;
      const content = entry(app, opsbookDir, job);
      return file({ title, path, content, mode: '644', owner: 'root:root' });
    }),
  ];
}

const logOf = (app: App, { name }: Pick<Job, 'name'>) => `${LOGS}/${app.name}-${name}.log`;

function entry(app: App, opsbookDir: string, job: Job): string {
  const bin = `${opsbookDir}/node_modules/.bin`;
  // What the file itself need not say; cron takes quotes around a value off.
  const named = envFileOf(app.dir, app.compose) ? `SECRETS_FILE="${app.compose.SECRETS_FILE}"\n` : '';
  const { choose, flags } = hostSettings(app.dir, app.compose);
  const command = [
    ...[`${bin}/tsx`, `${opsbookDir}/${job.script}`, ...flags].map(quote),
    ...[...(choose ? ['"$@"'] : []), '>>', quote(logOf(app, job)), '2>&1'],
  ].join(' ');
  // cron does not expand variables here, and takes quotes as they are where none surround the whole.
  return `# Written by opsbook: the next set-up undoes what is changed here. The times are the host's, in UTC.
SHELL=/bin/sh
PATH=${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TARGET=local
${named}${job.schedule} ${job.user} ${cronText(choose + command)}
`;
}

function rotation(app: App, jobs: readonly Job[]): Item {
  const stanza = (job: Job) => `${logOf(app, job)} {
  monthly
  maxsize 10M
  rotate 6
  compress
  delaycompress
  missingok
  notifempty
  create 0640 ${job.user} ${job.user}
}
`;
  return file({
    title: 'logrotate keeps six of each log',
    path: `/etc/logrotate.d/opsbook-${app.name.replaceAll('.', '-')}`,
    content: `# Written by opsbook: the next set-up undoes what is changed here.\n${jobs.map(stanza).join('')}`,
    ...{ mode: '644', owner: 'root:root' },
  });
}
