/**
 * Faults with some of them changed.
 * @throws Error for a name that is no fault, or a value of another type
 */
export function changed<T extends object>(faults: T, change: Record<string, unknown>): T {
  const known = { ...faults } as Record<string, unknown>;
  for (const [name, value] of Object.entries(change)) {
    const like = known[name];
    if (like === undefined || typeof like !== typeof value || Array.isArray(like) !== Array.isArray(value))
      throw new Error(
        `${name}: ${JSON.stringify(value)} cannot be set; there are ${Object.keys(known).join(', ')}`,
      );
  }
  return { ...faults, ...change };
}
