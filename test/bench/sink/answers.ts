import type { Page } from './objects.ts';

const XML = '<?xml version="1.0" encoding="UTF-8"?>';
const NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** ListObjectsV2's answer. A continuation token is the last key, in hexadecimal. */
export function listing(bucket: string, query: URLSearchParams, page: Page): string {
  const encode = query.get('encoding-type') === 'url' ? encodeKey : escaped;
  const contents = page.keys.map(
    ([key, { size, modified }]) =>
      `<Contents><Key>${encode(key)}</Key><LastModified>${modified.toISOString()}</LastModified>` +
      `<ETag>&quot;0&quot;</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
  );
  const { next } = page;
  const token = next === undefined ? '' : Buffer.from(next).toString('hex');
  return (
    `${XML}<ListBucketResult ${NAMESPACE}><Name>${bucket}</Name><Prefix>${encode(query.get('prefix') ?? '')}</Prefix>` +
    `<MaxKeys>1000</MaxKeys><KeyCount>${page.keys.length}</KeyCount><IsTruncated>${next !== undefined}</IsTruncated>` +
    (token && `<NextContinuationToken>${token}</NextContinuationToken>`) +
    (query.has('encoding-type') ? '<EncodingType>url</EncodingType>' : '') +
    `${contents.join('')}</ListBucketResult>`
  );
}

const encodeKey = (key: string): string => encodeURIComponent(key).replaceAll('%2F', '/');

/** Where a listing goes on. */
export function startOf(query: URLSearchParams): string {
  const token = query.get('continuation-token');
  return token ? Buffer.from(token, 'hex').toString() : (query.get('start-after') ?? '');
}

/** CreateMultipartUpload's answer. */
export const created = (bucket: string, key: string, id: string): string =>
  `${XML}<InitiateMultipartUploadResult ${NAMESPACE}><Bucket>${bucket}</Bucket><Key>${escaped(key)}</Key>` +
  `<UploadId>${id}</UploadId></InitiateMultipartUploadResult>`;

/** CompleteMultipartUpload's answer. */
export const completed = (bucket: string, key: string): string =>
  `${XML}<CompleteMultipartUploadResult ${NAMESPACE}><Bucket>${bucket}</Bucket><Key>${escaped(key)}</Key>` +
  '<ETag>&quot;0-1&quot;</ETag></CompleteMultipartUploadResult>';
