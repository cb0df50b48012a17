import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A stand-in for Parameter Store that pages as AWS documents it ("between zero and MaxResults"): an empty page that
 * goes on, one with a parameter, another empty one that goes on, one with the last. Prints its address.
 */
const pages = [[], ['ONE'], [], ['TWO']];

const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { NextToken = '0', Path = '' } = JSON.parse(body);
  const at = Number(NextToken);
  const Parameters = pages[at]?.map((name) => ({
    Name: Path + name,
    Value: `value-of-${name}`,
    Type: 'SecureString',
  }));
  response.setHeader('content-type', 'application/x-amz-json-1.1');
  response.end(
    JSON.stringify({ Parameters, ...(at + 1 < pages.length ? { NextToken: String(at + 1) } : {}) }),
  );
});
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
