import { randomUUID } from 'node:crypto';
import { awsFailure } from '../../aws-failure.ts';

/**
 * Empties the cache of a distribution; returns the id of the invalidation, which takes CloudFront some minutes. All of
 * it: under which paths a bucket is served is known to the distribution alone, and one wildcard is billed as one path.
 */
export async function invalidate(
  distribution: string,
  region: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { CloudFrontClient, CreateInvalidationCommand } = await import('@aws-sdk/client-cloudfront');
  const client = new CloudFrontClient({ region: region ?? 'us-east-1' });
  const InvalidationBatch = { CallerReference: randomUUID(), Paths: { Quantity: 1, Items: ['/*'] } };
  try {
    const { Invalidation } = await client.send(
      new CreateInvalidationCommand({ DistributionId: distribution, InvalidationBatch }),
      { abortSignal: signal },
    );
    return Invalidation?.Id ?? '';
  } catch (error) {
    signal.throwIfAborted();
    throw awsFailure(error, 'cloudfront:CreateInvalidation', distribution);
  }
}
