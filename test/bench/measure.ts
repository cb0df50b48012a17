import { execa } from 'execa';
import { say } from './say.ts';

/** Results of several rounds. */
export interface Sample {
  median: number;
  least: number;
  most: number;
}

export const seconds = async (act: () => Promise<unknown>): Promise<number> => {
  const started = performance.now();
  await act();
  return (performance.now() - started) / 1000;
};

export function sample(values: readonly number[]): Sample {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median =
    sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)! };
}

/** A contender: does its work once and returns the seconds that count. */
export type Contender = () => Promise<number>;

/**
 * Runs contenders in turn, so that what else loads the machine loads all of them: one round that is not counted,
 * then `rounds` that are.
 */
export async function interleave<K extends string>(
  title: string,
  rounds: number,
  contenders: Record<K, Contender>,
): Promise<Record<K, Sample>> {
  const names = Object.keys(contenders) as K[];
  const taken = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, number[]>;
  for (let round = 0; round <= rounds; round += 1) {
    for (const name of names) {
      await execa('sync'); // what the last one left to be written is not the next one's
      const value = await contenders[name]();
      if (round > 0) taken[name].push(value);
      say(
        `${title}, ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}: ${name} ${value.toFixed(2)} s`,
      );
    }
  }
  return Object.fromEntries(names.map((name) => [name, sample(taken[name])])) as Record<K, Sample>;
}

/** What two things that run one after the other take together. */
export const sum = (a: Sample, b: Sample): Sample => ({
  median: a.median + b.median,
  least: a.least + b.least,
  most: a.most + b.most,
});
