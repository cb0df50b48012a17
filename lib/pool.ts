/** Contents in flight at the most. */
const AT_ONCE = 32;
/** Bytes of contents in memory at the most. */
const IN_MEMORY = 64e6;

interface Pool<T> {
  signal: AbortSignal;
  /** Bytes of memory that `act` will hold. */
  weigh?: (item: T) => number;
  act: (item: T) => Promise<void>;
}

/** Does `act` for every item, many at once; after a failure none is started, and those that run are waited for. */
export async function forEach<T>(
  items: Iterable<T>,
  { signal, weigh = () => 0, act }: Pool<T>,
): Promise<void> {
  const memory = budget(IN_MEMORY);
  const queue = items[Symbol.iterator]();
  const failures: unknown[] = [];
  const worker = async () => {
    for (let next = queue.next(); !next.done && failures.length === 0; next = queue.next()) {
      const held = Math.min(weigh(next.value), IN_MEMORY);
      await memory.take(held);
      try {
        signal.throwIfAborted();
        await act(next.value);
      } catch (error) {
        failures.push(error);
      } finally {
        memory.give(held);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failures.length > 0) throw failures[0];
}

function budget(total: number) {
  let free = total;
  const waiting: Array<{ amount: number; go: () => void }> = [];
  return {
    async take(amount: number): Promise<void> {
      if (amount > free || waiting.length > 0) {
        await new Promise<void>((go) => waiting.push({ amount, go }));
        return;
      }
      free -= amount;
    },
    give(amount: number): void {
      free += amount;
      for (let first = waiting[0]; first && first.amount <= free; first = waiting[0]) {
        free -= first.amount;
        waiting.shift();
        first.go();
      }
    },
  };
}
