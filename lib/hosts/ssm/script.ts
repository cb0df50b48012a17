import type { Command } from '../../command.ts';
import { secretsOf, shellText } from '../shell.ts';

/** A command as SSM is to run it. */
export interface Delivery {
  /** Names its folder on the host. */
  id: string;
  command: Command;
  /** What it reads; the text goes into the command, which the history keeps: secrets go by parameter. */
  input?: string | undefined;
  /** The path of the parameters that hold what is secret, if something is. */
  secretPath?: string | undefined;
}

/** The folder of a command on the host: its output, whole, until it is fetched. */
export const folderOf = (id: string) => `/var/tmp/opsbook-${id}`;

/**
 * An answer holds as many characters of output as SSM surely returns: it cuts after 24,000, and does not say that it did
 * (GetCommandInvocation).
 */
const ANSWER_MAX = 23_000;
/** As many bytes as make 22,800 characters in base64. */
export const PAGE_BYTES = 17_100;

/**
 * Runs the command with its output in files, then answers with `opsbook CODE OUT ERR`, the code and the sizes of its
 * compressed output, and the output itself where it fits. All in base64: output may be binary, and SSM's is text.
 */
export function runScript({ id, command, input, secretPath }: Delivery): string {
  const folder = folderOf(id);
  return [
    'set -u; umask 077',
    // What a client that died left behind.
    `find /var/tmp -maxdepth 1 -name 'opsbook-*' -mmin +4320 -exec rm -rf {} + 2>/dev/null`,
    `d=${folder}; mkdir "$d" || exit 1`,
    `printf %s ${base64(shellText(command))} | base64 -d > "$d/do"`,
    ...(secretPath ? [readSecrets(secretPath)] : []),
    feed(input, secretPath !== undefined),
    'echo "$!" > "$d/pid"; wait "$!"; code=$?',
    'rm -f "$d/do" "$d/in"',
    pack,
    'pack; exit "$code"',
  ].join('\n');
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** What is secret is known to this shell alone, and in its memory only. */
const readSecrets = (path: string) =>
  [
    `secrets=$(aws ssm get-parameters-by-path --path ${path} --with-decryption --output text --query 'sort_by(Parameters,&Name)[].Value') ||`,
    '{ rm -rf "$d"; exit 1; }',
    `eval "$(printf %s "$secrets" | tr -d '\\t\\n ' | base64 -d)"`,
  ].join('\n');

/** Starts it in the background, so that it can be told from its output; its input is never the agent's. */
function feed(input: string | undefined, secret: boolean): string {
  const run = '(umask 022; exec sh "$d/do")';
  const to = '> "$d/out" 2> "$d/err"';
  if (secret) return `{ printf %s "\${opsbook_in:-}" | base64 -d | ${run} ${to}; } &`;
  if (!input) return `${run} < /dev/null ${to} &`;
  return `printf %s ${base64(input)} | base64 -d > "$d/in"\n${run} < "$d/in" ${to} &`;
}

const pack = `pack() {
  for s in out err; do gzip -c "$d/$s" > "$d/$s.gz"; done
  o=$(wc -c < "$d/out.gz"); e=$(wc -c < "$d/err.gz")
  echo "opsbook $code $((o)) $((e))"
  if [ $(((o + e) / 3 * 4 + 8)) -lt ${ANSWER_MAX} ]; then
    base64 -w 0 < "$d/out.gz"; echo; base64 -w 0 < "$d/err.gz"; echo; rm -rf "$d"
  fi
}`;

/** What gives secret variables and a secret input to {@link readSecrets}; it is stored in parameters, encrypted. */
export function secretText(command: Command, input: string | undefined): string {
  const exports = secretsOf(command).map(
    ([name, secret]) =>
      `${name}=$(printf %s ${base64(secret.reveal())} | base64 -d; printf .); export ${name}="\${${name}%.}"`,
  );
  return [...exports, ...(input === undefined ? [] : [`opsbook_in=${base64(input)}`])].join('\n');
}

/** Answers with one page of a file of a command's folder. */
export const pageScript = (id: string, file: string, from: number, bytes = PAGE_BYTES) =>
  `tail -c +${from + 1} ${folderOf(id)}/${file} 2>/dev/null | head -c ${bytes} | base64 -w 0`;

/** Answers with what a running command wrote since, a line each of stdout and stderr. */
export const peekScript = (id: string, out: number, err: number) =>
  `${pageScript(id, 'out', out, PEEK.out)}; echo; ${pageScript(id, 'err', err, PEEK.err)}; echo`;
export const PEEK = { out: 12_000, err: 5_000 };

export const forgetScript = (id: string) => `rm -rf ${folderOf(id)}`;
