const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/** `90m`, `26h`, `7d` or `4w` in milliseconds. @throws Error on anything else */
export function parseAge(raw: string): number {
  const [, number = '', unit = ''] = /^(\d+)([mhdw])$/.exec(raw) ?? [];
  if (!number) throw new Error('is not a number with m, h, d or w behind it, such as 26h');
  return Number(number) * UNITS[unit as keyof typeof UNITS];
}
