import { appendFileSync } from 'node:fs';
import { duration } from '../format.ts';
import { outcome, type Voice } from '../report.ts';
import { knownSecrets } from '../secret.ts';

/** Escapes as GitHub's workflow commands want it ("Workflow commands for GitHub Actions"). */
const escaped = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');

/** Text of which the runner would otherwise take a line, a file's name say, for a command. */
const plain = (text: string) => text.replaceAll(/^(\s*)(::|##\[)/gm, '$1\u200b$2');

/** The voice of GitHub Actions: groups, annotations, masks, outputs and the job's summary. */
export function actions(
  script: string,
  write: (text: string) => void,
  files: { output: string | undefined; summary: string | undefined },
): Voice {
  const masked = new Set<string>();
  const command = (name: string, text: string) => {
    for (const secret of knownSecrets()) {
      if (masked.has(secret)) continue;
      masked.add(secret);
      write(`::add-mask::${escaped(secret)}\n`);
    }
    write(`::${name}::${escaped(text)}\n`);
  };
  return {
    start: (title) => command('group', title),
    progress: () => {},
    done: (_, note, ms) => {
      write(`${plain(outcome(note, ms))}\n`);
      write('::endgroup::\n');
    },
    failed: (_, ms) => {
      write(`FAILED (${duration(ms)})\n`);
      write('::endgroup::\n');
    },
    say: (level, text) =>
      level === 'info' ? write(`${plain(text)}\n`) : command(level, `${script}: ${text}`),
    table: (text) => {
      write(`${plain(text)}\n`);
      if (files.summary) appendFileSync(files.summary, `### ${script}\n\n\`\`\`\n${text}\n\`\`\`\n`);
    },
    output: (name, value) => {
      if (files.output) appendFileSync(files.output, `${name}=${value.replaceAll(/[\r\n]/g, ' ')}\n`);
    },
  };
}
