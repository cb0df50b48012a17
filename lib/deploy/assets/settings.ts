import { list, optionalSetting, parsed, setting } from '../../settings.ts';

/** Where static files are, and where they go. */
export const assetSettings = {
  ASSETS_DIRECTORY: setting('ASSETS_DIRECTORY', {
    about: 'the directory of built static files, relative to the current one',
    example: 'web/dist',
    type: (z) => z.string(),
  }),
  ASSETS_BUCKET: setting('ASSETS_BUCKET', {
    about: 'where they are served from',
    example: 's3://drawing-agent-web/',
    type: parsed(parseBucket),
  }),
  ASSETS_IMMUTABLE: optionalSetting('ASSETS_IMMUTABLE', {
    about:
      'directories in which every name has a hash of its content, beside the names that plainly have one',
    example: 'assets,_next/static',
    type: list((raw) => raw.replace(/^\/+|\/+$/g, '')),
  }),
  CLOUDFRONT_DISTRIBUTION: optionalSetting('CLOUDFRONT_DISTRIBUTION', {
    about:
      'the id of the CloudFront distribution in front of the bucket; its cache is emptied when files changed',
    example: 'E2QWRUHAPOMQZL',
    type: (z) => z.string().regex(/^[A-Z0-9]{10,20}$/, 'is not the id of a distribution'),
  }),
};

export interface BucketFolder {
  bucket: string;
  /** Before each key: empty, or with a slash behind it. */
  prefix: string;
}

function parseBucket(raw: string): BucketFolder {
  const [, bucket, folder = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(raw) ?? [];
  if (bucket === undefined) throw new Error('is not s3://bucket/prefix');
  const prefix = folder.replace(/\/+$/, '');
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}
