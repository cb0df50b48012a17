import { type ComposeSettings, compose } from '../compose.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import { type Command, cmd, type Host } from '../shell.ts';
import { cronRows } from './verify-cron.ts';
import {
  containerRows,
  diskRows,
  inodeRows,
  logRows,
  memoryRows,
  portRows,
  restartRows,
  swapRows,
} from './verify-machine.ts';
import {
  INSIDE,
  ok,
  problem,
  type Row,
  selects,
  unknown,
  unset,
  type VerifySettings,
  warning,
} from './verify-settings.ts';

/** What one part of the look wrote, or why it wrote nothing. */
interface Section {
  text: string;
  /** Why it could not look; empty where it could. */
  failed: string;
}

/** All that was seen on a host, in one round trip. */
export interface Seen {
  /** How far the host's clock is ahead of ours, and how sure that is, in milliseconds. */
  clock: { offsetMs: number; uncertainMs: number };
  section(name: string): Section;
}

/** Lines of a log that an operator wants to know of, whichever language and framework wrote them. */
export const ERROR_LINE =
  '(^|[^[:alnum:]_-])(ERROR|FATAL|PANIC|CRITICAL|EMERG)([^[:alnum:]_-]|$)' +
  '|\\[(error|crit|alert|emerg)\\]' +
  '|[Ll]evel"?[=:] ?"?(error|fatal|critical|panic|50|60)([^[:alnum:]]|$)' +
  '|[[:alnum:]_]*(Error|Exception): |Traceback \\(most recent|panic: ';

/** What PostgreSQL tells a client, a health check among them, while it is being started or stopped. */
export const NO_ERROR = 'FATAL: +the database system is (starting up|shutting down)$';

/** As many lines of errors of a service as are shown. */
const SHOWN = 3;
const LONGEST = 300;

const CONTAINER =
  '{"service":{{json (index .Config.Labels "com.docker.compose.service")}},"name":{{json .Name}},' +
  '"oneOff":{{json (index .Config.Labels "com.docker.compose.oneoff")}},"state":{{json .State.Status}},' +
  '"health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}},"exit":{{.State.ExitCode}},' +
  '"oom":{{json .State.OOMKilled}},"restarts":{{.RestartCount}},"started":{{json .State.StartedAt}},' +
  '"policy":{{json .HostConfig.RestartPolicy.Name}}}';

/**
 * What is run on a host: $1 the app, $2 its directory, then the names of what to look at. Each part stands between a
 * record separator with its name and a unit separator with its exit code and last words; it only reads, works with
 * dash, and goes by sudo where it may. A part that needs a tool which is not there says so.
 */
const LOOK = `LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin
app=$1 dir=$2; shift 2; docker='timeout 120 docker'
sudo=; [ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && sudo='sudo -n'; }
has() { command -v "$1" >/dev/null 2>&1; }
in_app() { cd "$dir" || { echo "$dir is not there" >&2; return 1; }; }

look_containers() {
  in_app && compose config --services && echo -- && ids=$(compose ps --all --quiet) || return
  [ -z "$ids" ] || $docker inspect --format '${CONTAINER}' $ids
}
look_logs() {
  in_app && compose ps --quiet >/dev/null || return
  compose logs --since 1h --no-color 2>/dev/null | sed 's/\\x1b\\[[0-9;]*[A-Za-z]//g' |
    tr -d '\\000-\\010\\033-\\037' | grep -aE '${ERROR_LINE}' | grep -avE '${NO_ERROR}' | awk '{
      bar = index($0, "|"); who = substr($0, 1, bar - 1); sub(/ +$/, "", who); n[who]++
      last[who, n[who] % ${SHOWN}] = substr($0, bar + 2, ${LONGEST})
    } END { for (who in n) for (i = n[who] > ${SHOWN} ? n[who] - ${SHOWN - 1} : 1; i <= n[who]; i++)
      print who "\\t" n[who] "\\t" last[who, i % ${SHOWN}] }'
}
look_disk() { timeout 10 df -PlkT; code=$?; df -PkT / "$dir"; [ "$code" -lt 124 ]; }
look_inodes() { timeout 10 df -PliT; code=$?; df -PiT / "$dir"; [ "$code" -lt 124 ]; }
look_memory() { grep -E '^(MemTotal|MemAvailable|SwapTotal|SwapFree):' /proc/meminfo; }
look_swap() { look_memory; }
look_clock() { ! has timedatectl || timedatectl show --property NTPSynchronized 2>/dev/null || :; }
look_reboot() {
  if [ -e /run/reboot-required ]; then echo required; cat /run/reboot-required.pkgs 2>/dev/null
  elif has needs-restarting; then
    timeout 60 needs-restarting -r >/dev/null 2>&1; [ $? != 1 ] || echo required
  fi; :
}
look_cron() {
  date '+Z%z'
  ! has pgrep || pgrep -x 'crond?' >/dev/null || echo D
  name=$(printf %s "$app" | tr . -)
  for file in /etc/cron.d/"$name"-*; do
    [ -e "$file" ] || continue
    $sudo stat -c 'F%U %a %Y %n' "$file" && $sudo sed 's/^/C/' "$file" || return
    [ -z "$($sudo tail -c 1 "$file")" ] || { echo; echo N; }
    log=$($sudo sed -n "s/^[^#].*>> *'*\\([^' ]*\\).*/\\1/p" "$file" | head -n 1)
    [ -n "$log" ] && $sudo test -e "$log" || continue
    ! $sudo test -s "$log" && $sudo test -e "$log.1" && log=$log.1
    $sudo stat -c 'L%Y %s %n' "$log" || return
    $sudo tail -n 20 "$log" | tr -d '\\000-\\010\\033-\\037' | grep -v '^ *$' | tail -n 1 | cut -c 1-${LONGEST} | sed 's/^/T/'
  done
}
look_ports() {
  $sudo ss -Hltnp || return
  echo '-- docker'; ! has docker || $docker ps --format '{{.Names}} {{.Ports}}' || return
  echo '-- ufw'; ! has ufw || $sudo ufw status || return
  echo '-- docker-user'; ! has iptables || $sudo iptables -S DOCKER-USER 2>/dev/null; :
}
look_version() {
  file=$dir/.opsbook/deployments.jsonl
  ! $sudo test -e "$file" || $sudo tail -n 100 "$file"
}

printf '\\036from\\n'; date +%s%N; printf '\\037 0 \\n'
for part; do
  {
    printf '\\036%s\\n' "$part"
    said=$( { "look_$part" 3>&-; } 2>&1 >&3); code=$?
    printf '\\037 %s %s\\n' "$code" "$(printf '%s\\n' "$said" | grep . | tail -n 1)"
  } 3>&1
done
printf '\\036to\\n'; date +%s%N; printf '\\037 0 \\n'
`;

interface App extends ComposeSettings {
  APP: string;
  APP_DIR: string;
}

/** The one command by which a host is looked at. */
function lookCommand(host: Host, app: App, parts: readonly string[]): Command {
  const { text, env = {} } = compose(host, app.APP_DIR, app).command();
  const script = `compose() { timeout 120 ${text} "$@"; }\n${LOOK}`;
  return { ...cmd`sh -c ${script} verify ${app.APP} ${app.APP_DIR} ${parts}`, env };
}

/** Looks at a host, in one round trip. @throws Failure when it cannot be reached, or breaks off */
async function look(host: Host, app: App, parts: readonly string[]): Promise<Seen> {
  const asked = Date.now();
  const text = await host.run(lookCommand(host, app, parts));
  return parseSeen(text, asked, Date.now(), host.name);
}

/** What a look wrote, and when it was asked for and had arrived by our clock. */
export function parseSeen(text: string, asked: number, arrived: number, host: string): Seen {
  const sections = new Map<string, Section>();
  for (const part of text.split('\x1e').slice(1)) {
    const [, name = '', body = '', code = '', said = ''] =
      /^(\w+)\n([^\x1f]*)\x1f (\d+) ([^\n]*)\n/.exec(part) ?? [];
    if (name) sections.set(name, { text: body, failed: code === '0' ? '' : said || `exited with ${code}` });
  }
  const [from, to] = ['from', 'to'].map((name) => Number(sections.get(name)?.text) / 1e6);
  if (!from || !to) throw new Failure(`${host}: the look at it broke off`, { next: 'run it again' });
  return {
    // As NTP has it: what the way there and the way back differ by is what remains uncertain.
    clock: {
      offsetMs: (from - asked + (to - arrived)) / 2,
      uncertainMs: (arrived - asked - (to - from)) / 2,
    },
    section: (name) => sections.get(name) ?? { text: '', failed: 'was not looked at' },
  };
}

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

type Settings = VerifySettings & Context['settings'];

const JOBS = {
  ...{ backup: 'BACKUP_SCHEDULE', prune: 'PRUNE_SCHEDULE' },
  ...{ drill: 'DRILL_SCHEDULE', verify: 'VERIFY_SCHEDULE' },
} as const;

/** The part of the look that a check reads, where it is not called as the check is. */
const PART: Readonly<Record<string, string>> = { restarts: 'containers' };

/** What each check makes of what was seen. */
const RULES: Readonly<Record<string, (seen: Seen, text: string, settings: Settings, now: Date) => Row[]>> = {
  containers: (_, text) => containerRows(text),
  restarts: (_, text, __, now) => restartRows(text, now),
  logs: (_, text) => logRows(text),
  disk: (_, text) => diskRows(text),
  inodes: (_, text) => inodeRows(text),
  memory: (_, text) => memoryRows(text),
  swap: (_, text) => swapRows(text),
  clock: ({ clock }, text) => clockRows(clock, text),
  reboot: (_, text) => rebootRows(text),
  cron(_, text, settings, now) {
    const jobs = Object.entries(JOBS).filter(([, name]) => settings[name] !== undefined);
    const rows = cronRows(
      text,
      settings.APP,
      jobs.map(([job]) => job),
      now,
    );
    return rows.length > 0 ? rows : [unset('cron', `${Object.values(JOBS).join(', ')} are`)];
  },
  ports: (_, text, settings) => portRows(text, settings.OPEN_PORTS),
};

export interface Looked {
  rows: Row[];
  /** The records of deployments on the host, a line of JSON each; absent where they could not be read. */
  deployments?: string;
}

/** Looks at a host, in one round trip, and judges what is seen. */
export async function insideRows(host: Host, settings: Settings, signal: AbortSignal): Promise<Looked> {
  const checks = INSIDE.filter((check) => check in RULES && selects(settings.CHECKS, check));
  const version = settings.VERSION_URL && selects(settings.CHECKS, 'version') ? ['version'] : [];
  const parts = [...new Set([...checks.map((check) => PART[check] ?? check), ...version])];
  if (parts.length === 0) return { rows: [] };
  let seen: Seen;
  try {
    seen = await look(host, settings, parts);
  } catch (error) {
    if (signal.aborted || !(error instanceof Failure)) throw error;
    const { message, next = 'look at the host itself' } = error;
    return { rows: checks.map((check) => unknown(check, message, next)) };
  }
  const now = new Date();
  const rows = checks.flatMap((check) => {
    const { text, failed } = seen.section(PART[check] ?? check);
    return failed
      ? [unknown(check, failed, remedy(failed))]
      : (RULES[check]?.(seen, text, settings, now) ?? []);
  });
  const deployments = seen.section('version');
  return { rows, ...(deployments.failed ? {} : { deployments: deployments.text }) };
}

/** What to do where a part of the look failed. */
function remedy(failed: string): string {
  if (/denied|permitted|password|root|sudo/i.test(failed))
    return 'let the user of TARGET do it: group docker, sudo without a password';
  if (/docker daemon/i.test(failed)) return 'start Docker: systemctl start docker';
  return 'correct APP_DIR and COMPOSE_FILE, or look at the host itself';
}
