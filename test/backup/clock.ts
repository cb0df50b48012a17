/**
 * Preloaded by NODE_OPTIONS, it lets a script believe that it is $CLOCK_DAYS days later: retention and garbage go by
 * clocks, and nobody waits a week for a test.
 */
const shift = Number(process.env['CLOCK_DAYS'] ?? 0) * 86_400_000;
const Real = Date;

globalThis.Date = class extends Real {
  constructor(...args: ConstructorParameters<typeof Real> | []) {
    if (args.length === 0) super(Real.now() + shift);
    else super(...(args as ConstructorParameters<typeof Real>));
  }

  static override now(): number {
    return Real.now() + shift;
  }
} as DateConstructor;
