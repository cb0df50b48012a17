import type { Command } from '../../command.ts';
import type { Host } from '../../host.ts';

/** What renews certificates on a host by itself. */
export interface Schedule {
  /** Where renew-certificates is entered. */
  ours: string[];
  /** Timers and cron files that run certbot without a reload and a look at what is served. */
  others: string[];
}

/** Prints whether systemd runs the host, its active timers, and the lines of cron and units that may be of interest. */
const LOOK = `if [ -d /run/systemd/system ]; then echo systemd; fi
systemctl list-units --type=timer --state=active --plain --no-legend 2>/dev/null
grep -rHsE 'certbot|renew-certificates' /etc/crontab /etc/cron.d /var/spool/cron /etc/systemd/system
true`;
const look: Command = { argv: ['sh', '-c', LOOK], root: true };

/** Reads the crontabs and timers of a host. */
export async function readSchedule(host: Host): Promise<Schedule> {
  return parseSchedule(await host.run(look));
}

export function parseSchedule(text: string): Schedule {
  const lines = text.split('\n').filter(Boolean);
  const systemd = lines.includes('systemd');
  const timers = lines.flatMap((line) => /^(\S*certbot\S*\.timer)\s/.exec(line)?.[1] ?? []);
  const entries = lines.flatMap((line) => {
    const [, file = '', entry = ''] = /^(\/[^:]+):(?!\s*#)(.*)$/.exec(line) ?? [];
    // Debian's own entry does nothing where its timer does.
    return file && !(systemd && entry.includes('! -d /run/systemd/system')) ? [{ file, entry }] : [];
  });
  const files = (found: typeof entries) => [...new Set(found.map(({ file }) => file))];
  const own = ({ entry }: { entry: string }) => entry.includes('renew-certificates');
  const foreign = ({ file, entry }: { file: string; entry: string }) =>
    /certbot.*\brenew\b/.test(entry) && !file.startsWith('/etc/systemd/');
  return {
    ours: files(entries.filter(own)),
    others: [...timers, ...files(entries.filter((line) => !own(line) && foreign(line)))],
  };
}

/** What to do about each that renews beside renew-certificates: it would leave the old certificate served. */
export function describeOthers({ others }: Schedule): Array<{ found: string; todo: string }> {
  return others.map((other) => ({
    found: `${other} renews as well, and reloads nothing`,
    todo: other.endsWith('.timer')
      ? `systemctl disable --now ${other}`
      : `take certbot's line out of ${other}`,
  }));
}
