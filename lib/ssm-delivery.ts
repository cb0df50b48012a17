import { randomUUID } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import type { SSMClient } from '@aws-sdk/client-ssm';
import { type Command, programOf, secretsOf, shellText, show } from './command.ts';
import { Failure } from './failure.ts';
import { Secret } from './secret.ts';
import {
  cancel,
  forget,
  invocationEnded,
  invocationsEnded,
  LONGEST_S,
  lostOn,
  type Patience,
  send,
  store,
  unanswered,
} from './ssm-commands.ts';

/** A command as SSM is to run it. */
interface Delivery {
  /** Names its folder on the host. */
  id: string;
  command: Command;
  /** What it reads; the text goes into the command, which the history keeps: secrets go by parameter. */
  input?: string | undefined;
  /** The path of the parameters that hold what is secret, if something is. */
  secretPath?: string | undefined;
}

/** The folder of a command on the host: its output, whole, until it is fetched. */
const folderOf = (id: string) => `/var/tmp/opsbook-${id}`;

/**
 * An answer holds as many characters of output as SSM surely returns: it cuts after 24,000, and does not say that it did
 * (GetCommandInvocation).
 */
const ANSWER_MAX = 23_000;
/** As many bytes as make 22,800 characters in base64. */
const PAGE_BYTES = 17_100;

/**
 * Runs the command with its output in files, then answers with `opsbook CODE OUT ERR`, the code and the sizes of its
 * compressed output, and the output itself where it fits. All in base64: output may be binary, and SSM's is text.
 */
function runScript({ id, command, input, secretPath }: Delivery): string {
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
function secretText(command: Command, input: string | undefined): string {
  const exports = secretsOf(command).map(
    ([name, secret]) =>
      `${name}=$(printf %s ${base64(secret.reveal())} | base64 -d; printf .); export ${name}="\${${name}%.}"`,
  );
  return [...exports, ...(input === undefined ? [] : [`opsbook_in=${base64(input)}`])].join('\n');
}

/** Answers with one page of a file of a command's folder. */
const pageScript = (id: string, file: string, from: number, bytes = PAGE_BYTES) =>
  `tail -c +${from + 1} ${folderOf(id)}/${file} 2>/dev/null | head -c ${bytes} | base64 -w 0`;

/** Answers with what a running command wrote since, a line each of stdout and stderr. */
export const peekScript = (id: string, out: number, err: number) =>
  `${pageScript(id, 'out', out, PEEK.out)}; echo; ${pageScript(id, 'err', err, PEEK.err)}; echo`;
export const PEEK = { out: 12_000, err: 5_000 };

const forgetScript = (id: string) => `rm -rf ${folderOf(id)}`;

/** What a command ended with, whole. */
export interface Answer {
  code: number;
  out: Buffer;
  err: Buffer;
}

/** Fetches one page of a file of the command's folder, from a byte on. */
type FetchPage = (file: 'out.gz' | 'err.gz', from: number) => Promise<Buffer>;

/** Pages are fetched by commands of their own; so many at once. */
const PAGES_AT_ONCE = 8;

/** Makes of the answer what the command wrote; undefined when it is none of ours. */
async function readAnswer(text: string, page: FetchPage): Promise<(Answer & { paged: boolean }) | undefined> {
  const [head = '', out, err] = text.split('\n');
  const [, code, outSize, errSize] = /^opsbook (\d+) (\d+) (\d+)$/.exec(head) ?? [];
  if (code === undefined) return undefined;
  const paged = err === undefined;
  const [o, e] = paged
    ? await Promise.all([
        fetchAll(page, 'out.gz', Number(outSize)),
        fetchAll(page, 'err.gz', Number(errSize)),
      ])
    : [out, err].map((encoded) => Buffer.from(encoded ?? '', 'base64'));
  return { code: Number(code), out: gunzipSync(o ?? ''), err: gunzipSync(e ?? ''), paged };
}

async function fetchAll(page: FetchPage, file: 'out.gz' | 'err.gz', size: number): Promise<Buffer> {
  const pages = Array.from({ length: Math.ceil(size / PAGE_BYTES) }, (_, i) => i * PAGE_BYTES);
  const fetched: Buffer[] = [];
  const fetchSome = async (): Promise<void> => {
    for (let from = pages.shift(); from !== undefined; from = pages.shift())
      fetched[from / PAGE_BYTES] = await page(file, from);
  };
  await Promise.all(Array.from({ length: PAGES_AT_ONCE }, fetchSome));
  const whole = Buffer.concat(fetched);
  if (whole.length === size) return whole;
  throw new Failure(`${whole.length} of ${size} bytes of the command's output (${file}) could be fetched`, {
    next: 'the command has ended: look at what it did, then run it again',
  });
}

/** A command for some instances. */
export interface Order {
  command: Command;
  input?: string | Secret | undefined;
  signal?: AbortSignal | undefined;
  /** Called for each instance while its command runs, with the folder that its output is in. */
  whileRunning?: ((instance: string, id: string, stop: AbortSignal) => Promise<void>) | undefined;
}

/** What a command's text and its input may come to; SSM refuses parameters of more than 64 KB. */
const INPUT_MAX = 40_000;

/**
 * Runs a command on instances by one SendCommand, and hands over what each answered as it ends. An interruption
 * cancels it.
 * @throws Failure of the sending; what goes wrong on an instance is handed over
 */
export async function execute(
  client: SSMClient,
  instances: readonly string[],
  order: Order,
  hear: (instance: string, result: Answer | Failure) => void,
): Promise<void> {
  const { command, input, signal } = order;
  const limitS = command.withinS ?? LONGEST_S;
  const id = randomUUID();
  const isSecret = (input instanceof Secret && input.reveal() !== '') || secretsOf(command).length > 0;
  const text = input instanceof Secret ? input.reveal() : (input ?? '');
  if (!isSecret && text.length > INPUT_MAX)
    throw new Failure(`${programOf(command)}: ${text.length} bytes of input are more than SSM takes`, {
      next: 'run the script on the host itself, or reach it by ssh',
    });
  const secretPath = isSecret ? `/opsbook/${id}` : undefined;
  const names = secretPath ? await store(client, secretPath, secretText(command, text)) : [];
  try {
    const script = runScript({ id, command, secretPath, input: text });
    signal?.throwIfAborted();
    const sent = await send(client, {
      ...order,
      instances,
      script,
      comment: show(command),
      limitS,
    });
    const stop = new AbortController();
    const watching = instances.map((instance) => order.whileRunning?.(instance, id, stop.signal));
    try {
      await settleAll(client, sent, instances, id, { signal, limitS }, hear);
    } finally {
      stop.abort();
      await Promise.allSettled(watching);
    }
  } finally {
    await forget(client, names);
  }
}

async function settleAll(
  client: SSMClient,
  sent: string,
  instances: readonly string[],
  id: string,
  patience: Patience,
  hear: (instance: string, result: Answer | Failure) => void,
): Promise<void> {
  const { signal } = patience;
  const settled: Array<Promise<void>> = [];
  try {
    for await (const { instance, lost } of invocationsEnded(client, sent, instances, patience))
      if (lost) hear(instance, lostOn(instance, sent));
      else settled.push(result(client, sent, instance, id, signal).then((found) => hear(instance, found)));
  } catch (error) {
    // What has ended is read no further, and nobody asks any more how that went.
    await Promise.allSettled(settled);
    if (signal?.aborted) await cancel(client, sent);
    throw error;
  }
  await Promise.all(settled);
}

/** What an instance answered; by further commands where one answer does not hold it. */
async function result(
  client: SSMClient,
  sent: string,
  instance: string,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Answer | Failure> {
  try {
    const invocation = await invocationEnded(client, sent, instance, { signal, limitS: LOOK_S });
    const page = async (file: string, from: number) =>
      Buffer.from(await ask(client, instance, pageScript(id, file, from), signal), 'base64');
    const answer = await readAnswer(invocation.StandardOutputContent ?? '', page);
    if (!answer) return unanswered(invocation, instance);
    if (answer.paged) await ask(client, instance, forgetScript(id), signal);
    return answer;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** How long a script of our own may take that only looks, in seconds. */
const LOOK_S = 60;

/**
 * Runs a short script of our own; returns what it wrote.
 * @throws Failure when the instance does not answer; what `signal` was aborted with
 */
export async function ask(
  client: SSMClient,
  instance: string,
  script: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const comment = 'opsbook fetches output';
  const sent = await send(client, { instances: [instance], script, comment, limitS: LOOK_S });
  const invocation = await invocationEnded(client, sent, instance, { signal, limitS: LOOK_S });
  if (invocation.Status !== 'Success') throw unanswered(invocation, instance);
  return invocation.StandardOutputContent ?? '';
}
