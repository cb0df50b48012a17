/** An object as the sink knows it: its body was counted and dropped. */
export interface Known {
  size: number;
  modified: Date;
}

export interface Page {
  keys: Array<[string, Known]>;
  /** Where the next page begins, unless this was the last. */
  next?: string;
}

/** The objects of one bucket, in memory. */
export class Objects {
  readonly #known = new Map<string, Known>();
  #sorted: string[] | undefined;

  put(key: string, size: number): void {
    if (!this.#known.has(key)) this.#sorted = undefined;
    this.#known.set(key, { size, modified: new Date() });
  }

  /** Keys that start with `prefix` and come after `after`, in order. */
  page(prefix: string, after: string, most: number): Page {
    this.#sorted ??= [...this.#known.keys()].sort();
    const sorted = this.#sorted;
    const from = after >= prefix ? firstAfter(sorted, after) : firstAfter(sorted, prefix, true);
    const keys: Page['keys'] = [];
    for (let i = from; i < sorted.length && sorted[i]!.startsWith(prefix); i += 1) {
      if (keys.length === most) return { keys, next: keys.at(-1)![0] };
      keys.push([sorted[i]!, this.#known.get(sorted[i]!)!]);
    }
    return { keys };
  }
}

function firstAfter(sorted: readonly string[], value: string, inclusive = false): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const before = inclusive ? sorted[middle]! < value : sorted[middle]! <= value;
    if (before) low = middle + 1;
    else high = middle;
  }
  return low;
}
