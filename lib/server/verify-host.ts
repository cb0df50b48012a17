import { type Command, cmd } from '../command.ts';
import { composeCommand } from '../compose.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import { judgeCron } from './verify-cron.ts';
import {
  judgeContainers,
  judgeDisk,
  judgeInodes,
  judgeLogs,
  judgeMemory,
  judgePorts,
  judgeRestarts,
  judgeSwap,
} from './verify-machine.ts';
import { type Finding, finding, ok, problem, type Row, unknown, unset } from './verify-report.ts';
import { selects, type VerifySettings } from './verify-settings.ts';

type Settings = VerifySettings & Context['settings'];

/** What was found on a host. */
export interface Inspected {
  rows: Row[];
  /** The records of deployments on the host, a line of JSON each; absent where they could not be read. */
  deployments?: string;
}

/** Inspects a host, in one round trip, and judges what it found; only reads. */
export async function inspectHost(host: Host, settings: Settings, signal: AbortSignal): Promise<Inspected> {
  const checks = Object.entries(RULES).filter(([check]) => selects(settings.CHECKS, check));
  const version = settings.VERSION_URL && selects(settings.CHECKS, 'version') ? ['version'] : [];
  const parts = [...new Set([...checks.map(([check]) => PART[check] ?? check), ...version])];
  if (parts.length === 0) return { rows: [] };
  const rowsOf = (judge: (check: string, rule: Rule) => Finding[]) =>
    checks.flatMap(([check, rule]) => judge(check, rule).map((finding) => ({ check, ...finding })));
  let inspection: Inspection;
  try {
    const asked = Date.now();
    const text = await host.run(inspectCommand(settings, parts));
    inspection = parseInspection(text, asked, Date.now(), host.name);
  } catch (error) {
    if (signal.aborted || !(error instanceof Failure)) throw error;
    const { message, next = 'check the host itself' } = error;
    return { rows: rowsOf(() => [unknown(message, next)]) };
  }
  const now = new Date();
  const rows = rowsOf((check, rule) => {
    const { text, failed } = inspection.part(PART[check] ?? check);
    return failed ? [unknown(failed, remedy(failed))] : rule(text, { settings, now, ...inspection });
  });
  const { text, failed } = inspection.part('version');
  return { rows, ...(failed ? {} : { deployments: text }) };
}

/** What to do where a part of the inspection failed. */
function remedy(failed: string): string {
  if (/denied|permitted|password|root|sudo/i.test(failed))
    return 'let the user of TARGET do it: group docker, sudo without a password';
  if (/docker daemon/i.test(failed)) return 'start Docker: systemctl start docker';
  return 'correct APP_DIR and COMPOSE_FILE, or check the host itself';
}

/** Lines of a log that are errors, whichever language and framework wrote them; for `grep -E`. */
export const ERROR_LINE =
  '(^|[^[:alnum:]_-])(ERROR|FATAL|PANIC|CRITICAL|EMERG)([^[:alnum:]_-]|$)' +
  '|\\[(error|crit|alert|emerg)\\]' +
  '|[Ll]evel"?[=:] ?"?(error|fatal|critical|panic|50|60)([^[:alnum:]]|$)' +
  '|[[:alnum:]_]*(Error|Exception): |Traceback \\(most recent|panic: ';

/** What PostgreSQL answers a client, a health check among them, while it is being started or stopped. */
export const NO_ERROR = 'FATAL: +the database system is (starting up|shutting down)$';

/** As many error lines of a container are shown. */
const SHOWN = 3;
const LONGEST = 300;

const CONTAINER =
  '{"service":{{json (index .Config.Labels "com.docker.compose.service")}},"name":{{json .Name}},' +
  '"oneOff":{{json (index .Config.Labels "com.docker.compose.oneoff")}},"state":{{json .State.Status}},' +
  '"health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}},"exit":{{.State.ExitCode}},' +
  '"oom":{{json .State.OOMKilled}},"restarts":{{.RestartCount}},"started":{{json .State.StartedAt}},' +
  '"policy":{{json .HostConfig.RestartPolicy.Name}}}';

/**
 * What is run on a host: $1 the app, $2 its directory, then the names of the parts. Each part stands between a record
 * separator with its name and a unit separator with its exit code and last words. It only reads, works with dash, and
 * uses sudo where it may. A part that needs a tool which is not there says so.
 */
const INSPECT = `LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin
app=$1 dir=$2; shift 2; docker='timeout 120 docker'
sudo=; [ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && sudo='sudo -n'; }
has() { command -v "$1" >/dev/null 2>&1; }
in_app() { cd "$dir" || { echo "$dir is not there" >&2; return 1; }; }

inspect_containers() {
  in_app && compose config --services && echo -- && ids=$(compose ps --all --quiet) || return
  [ -z "$ids" ] || $docker inspect --format '${CONTAINER}' $ids
}
inspect_logs() {
  in_app && compose ps --quiet >/dev/null || return
  compose logs --since 1h --no-color 2>/dev/null | sed 's/\\x1b\\[[0-9;]*[A-Za-z]//g' |
    tr -d '\\000-\\010\\033-\\037' | grep -aE '${ERROR_LINE}' | grep -avE '${NO_ERROR}' | awk '{
      bar = index($0, "|"); who = substr($0, 1, bar - 1); sub(/ +$/, "", who); n[who]++
      last[who, n[who] % ${SHOWN}] = substr($0, bar + 2, ${LONGEST})
    } END { for (who in n) for (i = n[who] > ${SHOWN} ? n[who] - ${SHOWN - 1} : 1; i <= n[who]; i++)
      print who "\\t" n[who] "\\t" last[who, i % ${SHOWN}] }'
}
inspect_disk() { timeout 10 df -PlkT; code=$?; df -PkT / "$dir"; [ "$code" -lt 124 ]; }
inspect_inodes() { timeout 10 df -PliT; code=$?; df -PiT / "$dir"; [ "$code" -lt 124 ]; }
inspect_memory() { grep -E '^(MemTotal|MemAvailable|SwapTotal|SwapFree):' /proc/meminfo; }
inspect_swap() { inspect_memory; }
inspect_clock() { ! has timedatectl || timedatectl show --property NTPSynchronized 2>/dev/null || :; }
inspect_reboot() {
  if [ -e /run/reboot-required ]; then echo required; cat /run/reboot-required.pkgs 2>/dev/null
  elif has needs-restarting; then
    timeout 60 needs-restarting -r >/dev/null 2>&1; [ $? != 1 ] || echo required
  fi; :
}
inspect_cron() {
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
inspect_ports() {
  $sudo ss -Hltnp || return
  echo '-- docker'; ! has docker || $docker ps --format '{{.Names}} {{.Ports}}' || return
  echo '-- ufw'; ! has ufw || $sudo ufw status || return
  echo '-- docker-user'; ! has iptables || $sudo iptables -S DOCKER-USER 2>/dev/null; :
}
inspect_version() {
  file=$dir/.opsbook/deployments.jsonl
  ! $sudo test -e "$file" || $sudo tail -n 100 "$file"
}

printf '\\036from\\n'; date +%s%N; printf '\\037 0 \\n'
for part; do
  {
    printf '\\036%s\\n' "$part"
    said=$( { "inspect_$part" 3>&-; } 2>&1 >&3); code=$?
    printf '\\037 %s %s\\n' "$code" "$(printf '%s\\n' "$said" | grep . | tail -n 1)"
  } 3>&1
done
printf '\\036to\\n'; date +%s%N; printf '\\037 0 \\n'
`;

/** The one command by which a host is inspected. */
function inspectCommand(settings: Settings, parts: readonly string[]): Command {
  const { APP, APP_DIR } = settings;
  const { text, env = {} } = composeCommand(APP_DIR, settings, []);
  const script = `compose() { timeout 120 ${text} "$@"; }\n${INSPECT}`;
  return { ...cmd`sh -c ${script} verify ${APP} ${APP_DIR} ${parts}`, env };
}

/** What was read on a host, in one round trip. */
interface Inspection {
  /** How far the host's clock is ahead of ours, and how sure that is, in milliseconds. */
  clock: { offsetMs: number; uncertainMs: number };
  /** What a part wrote, and why it failed; `failed` is empty where it did not. */
  part(name: string): { text: string; failed: string };
}

/**
 * Takes the output of the inspection apart; `asked` and `arrived` are by our clock, in milliseconds.
 * @throws Failure where its end is missing
 */
export function parseInspection(text: string, asked: number, arrived: number, host: string): Inspection {
  const parts = new Map<string, { text: string; failed: string }>();
  for (const part of text.split('\x1e').slice(1)) {
    const [, name = '', body = '', code = '', said = ''] =
      /^(\w+)\n([^\x1f]*)\x1f (\d+) ([^\n]*)\n/.exec(part) ?? [];
    if (name) parts.set(name, { text: body, failed: code === '0' ? '' : said || `exited with ${code}` });
  }
  const [from, to] = ['from', 'to'].map((name) => Number(parts.get(name)?.text) / 1e6);
  if (!from || !to) throw new Failure(`${host}: the check was cut short`, { next: 'run it again' });
  return {
    // As NTP has it: what the way there and the way back differ by is what remains uncertain.
    clock: {
      offsetMs: (from - asked + (to - arrived)) / 2,
      uncertainMs: (arrived - asked - (to - from)) / 2,
    },
    part: (name) => parts.get(name) ?? { text: '', failed: 'was not checked' },
  };
}

/** The part of the inspection that a check reads, where it is not called as the check is. */
const PART: Readonly<Record<string, string>> = { restarts: 'containers' };

/** What a rule judges by, beside the text of its part. */
interface Facts extends Inspection {
  settings: Settings;
  now: Date;
}

type Rule = (text: string, facts: Facts) => Finding[];

/** What each check makes of its part, in the order in which they are reported. */
const RULES: Readonly<Record<string, Rule>> = {
  containers: judgeContainers,
  restarts: (text, { now }) => judgeRestarts(text, now),
  logs: judgeLogs,
  disk: judgeDisk,
  inodes: judgeInodes,
  memory: judgeMemory,
  swap: judgeSwap,
  clock: (text, { clock }) => judgeClock(clock, text),
  reboot: judgeReboot,
  cron(text, { settings, now }) {
    const jobs = Object.entries(JOBS).filter(([, name]) => settings[name] !== undefined);
    const scheduled = jobs.map(([job]) => job);
    const findings = judgeCron(text, settings.APP, scheduled, now);
    return findings.length > 0 ? findings : [unset(`${Object.values(JOBS).join(', ')} are`)];
  },
  ports: (text, { settings }) => judgePorts(text, settings.OPEN_PORTS),
};

const JOBS = {
  ...{ backup: 'BACKUP_SCHEDULE', prune: 'PRUNE_SCHEDULE' },
  ...{ drill: 'DRILL_SCHEDULE', verify: 'VERIFY_SCHEDULE' },
} as const;

/** AWS refuses what is signed five minutes off; logs and tokens of two machines stop making sense much sooner. */
const CLOCK_LIMIT_MS = 5_000;

/** The host's clock against ours, with what the way there and back leaves uncertain in its favour. */
export function judgeClock({ offsetMs, uncertainMs }: Inspection['clock'], timedatectl: string): Finding[] {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const expected = `within ${CLOCK_LIMIT_MS / 1000} s of this machine's clock`;
  const found = `${seconds(Math.abs(offsetMs))} ${offsetMs < 0 ? 'behind' : 'ahead'} (± ${seconds(uncertainMs)})`;
  const todo = 'see which of the two is wrong: date -u, timedatectl, chronyc tracking';
  if (Math.abs(offsetMs) - uncertainMs > CLOCK_LIMIT_MS) return [problem(found, expected, todo)];
  if (!/^NTPSynchronized=no$/m.test(timedatectl)) return [ok(found, expected)];
  const drifts = `${found}, and nothing keeps it right`;
  return [finding('warning', drifts, 'kept right by NTP', 'timedatectl set-ntp true')];
}

/** Whether the host waits for a reboot, and what for. */
export function judgeReboot(text: string): Finding[] {
  const expected = 'none is pending';
  const [required, ...packages] = text.split('\n').filter(Boolean);
  if (required === undefined) return [ok(expected, expected)];
  const wanting = packages.length > 0 ? `, by ${[...new Set(packages)].slice(0, 4).join(', ')}` : '';
  return [finding('warning', `one is pending${wanting}`, expected, 'choose a quiet hour: shutdown -r +1')];
}
