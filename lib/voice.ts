import type { Voice } from './report.ts';

/** The voice for whoever runs the script: GitHub Actions, a person at a terminal, or a log. */
export async function chooseVoice(script: string, env: NodeJS.ProcessEnv = process.env): Promise<Voice> {
  const write = (text: string) => void process.stderr.write(text);
  if (env.GITHUB_ACTIONS === 'true') {
    const { actions } = await import('./voices/actions.ts');
    return actions(script, write, { output: env.GITHUB_OUTPUT, summary: env.GITHUB_STEP_SUMMARY });
  }
  // A terminal that does not tell its width (docker exec -t, ssh -tt without one) cannot be drawn on: ora would
  // never end clearing the infinitely many lines of a text.
  if (process.stderr.isTTY && process.stderr.columns > 0) {
    const [{ terminal }, ora] = await Promise.all([import('./voices/terminal.ts'), import('ora')]);
    return terminal(ora, process.stderr);
  }
  const { lines } = await import('./voices/lines.ts');
  return lines(script, write);
}
