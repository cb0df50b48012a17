/** A refusal in AWS's own terms: the name of the error, and what it says. */
export class AwsError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** What AWS says of a value that its API model does not admit. */
export function invalid(field: string, value: unknown, constraint: string): AwsError {
  const shown = typeof value === 'string' ? value : JSON.stringify(value);
  const text = `1 validation error detected: Value '${shown}' at '${field}' failed to satisfy constraint: ${constraint}`;
  return new AwsError('ValidationException', text);
}
