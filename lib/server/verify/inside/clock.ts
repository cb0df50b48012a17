import { ok, problem, type Row, warning } from '../row.ts';
import type { Seen } from './look.ts';

/** AWS refuses what is signed five minutes off; logs and tokens of two machines stop making sense much sooner. */
const LIMIT_MS = 5_000;

/** The host's clock against ours, with what the way there and back leaves uncertain in its favour. */
export function clockRows({ offsetMs, uncertainMs }: Seen['clock'], timedatectl: string): Row[] {
  const expected = `within ${LIMIT_MS / 1000} s of this machine's clock`;
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const found = `${seconds(Math.abs(offsetMs))} ${offsetMs < 0 ? 'behind' : 'ahead'} (± ${seconds(uncertainMs)})`;
  const todo = 'see which of the two is wrong: date -u, timedatectl, chronyc tracking';
  if (Math.abs(offsetMs) - uncertainMs > LIMIT_MS) return [problem('clock', found, expected, todo)];
  if (/^NTPSynchronized=no$/m.test(timedatectl))
    return [
      warning(
        'clock',
        `${found}, and nothing keeps it right`,
        'kept right by NTP',
        'timedatectl set-ntp true',
      ),
    ];
  return [ok('clock', found, expected)];
}

/** Whether the host waits for a reboot, and what for. */
export function rebootRows(text: string): Row[] {
  const expected = 'none is pending';
  const [required, ...packages] = text.split('\n').filter(Boolean);
  if (required === undefined) return [ok('reboot', expected, expected)];
  const wanting = packages.length > 0 ? `, by ${[...new Set(packages)].slice(0, 4).join(', ')}` : '';
  return [warning('reboot', `one is wanted${wanting}`, expected, 'choose a quiet hour: shutdown -r +1')];
}
