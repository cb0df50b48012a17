import { AwsError } from './errors.ts';

const motoUrl = `http://127.0.0.1:${process.argv[3] ?? '5001'}/`;

/** What moto needs to tell which service is meant, and that it is the front who asks (images/moto/sandbox_moto.py). */
function headers(service: string): Record<string, string> {
  const region = process.env.AWS_DEFAULT_REGION ?? 'us-east-1';
  const today = new Date().toISOString().slice(0, 10).replaceAll('-', '');
  return {
    Authorization: `AWS4-HMAC-SHA256 Credential=front/${today}/${region}/${service}/aws4_request`,
    'X-Sandbox-Inside': process.env.SANDBOX_INSIDE ?? '',
  };
}

/**
 * A call of a JSON service of moto, as AWS's own services call each other: nobody's policies are asked.
 * @throws AwsError as moto refuses it
 */
export async function askMoto<T>(service: string, target: string, input: object): Promise<T> {
  const response = await fetch(motoUrl, {
    method: 'POST',
    headers: { ...headers(service), 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': target },
    body: JSON.stringify(input),
  });
  const answer = JSON.parse((await response.text()) || '{}') as T & {
    __type?: string;
    message?: string;
    Message?: string;
  };
  if (response.ok) return answer;
  throw new AwsError(answer.__type ?? 'Unknown', answer.message ?? answer.Message ?? '', response.status);
}

/** The same for a service of the query protocol. @returns the XML of its answer */
export async function queryMoto(service: string, input: Record<string, string>): Promise<string> {
  const response = await fetch(motoUrl, {
    method: 'POST',
    headers: { ...headers(service), 'Content-Type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(input).toString(),
  });
  const text = await response.text();
  if (response.ok) return text;
  const [, code = 'Unknown'] = /<Code>(.*?)<\/Code>/s.exec(text) ?? [];
  const [, message = ''] = /<Message>(.*?)<\/Message>/s.exec(text) ?? [];
  throw new AwsError(code, message, response.status);
}
