import { Failure, messageOf } from './failure.ts';

/**
 * Makes one line of what the SDK threw: which call, on what, and what to do about it. `call` is named as policies
 * name it (`ssm:GetParametersByPath`); without a service it is one of S3.
 */
export function awsFailure(error: unknown, call: string, on: string): Failure {
  const { name = 'Error', $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  const said = messageOf(error).replace(/[.]+$/, '');
  // A name that says nothing is left out, as is a message that only repeats it.
  const words = [name === 'Error' ? '' : `${name}${status ? ` (${status})` : ''}`, said === name ? '' : said];
  return new Failure(`${call.replace(/^.*:/, '')} ${on}: ${words.filter(Boolean).join(': ')}`, {
    next: /^Region is missing/.test(said) ? 'set AWS_REGION' : advice(name, status, call),
    cause: error,
  });
}

const WRONG_KEYS = [
  ...['SignatureDoesNotMatch', 'InvalidAccessKeyId', 'ExpiredToken', 'InvalidToken'],
  ...['UnrecognizedClientException', 'InvalidSignatureException', 'ExpiredTokenException'],
];

function advice(name: string, status: number | undefined, call: string): string {
  if (WRONG_KEYS.includes(name))
    return 'correct the keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE';
  if (status === 403 || name.startsWith('AccessDenied')) {
    if (call.includes(':')) return `use credentials that are allowed ${call}`;
    return `use credentials that are allowed s3:${call} (docs/backup.md lists who needs what)`;
  }
  if (name === 'NoSuchBucket') return 'create the bucket, or correct its name';
  if (name === 'CredentialsProviderError') return 'set AWS_PROFILE or keys, or give the host a role';
  if (name === 'PermanentRedirect' || status === 301) return "set AWS_REGION to the bucket's region";
  if (status && status >= 500) return 'the store is failing; run it again when it answers';
  return 'check AWS_ENDPOINT_URL and the network, then run it again';
}

/** Whether the SDK was refused for want of a permission. */
export function isRefused(error: unknown): boolean {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 403;
}
