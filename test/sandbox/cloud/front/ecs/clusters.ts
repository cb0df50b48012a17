import type { CreateClusterCommandInput, DescribeClustersCommandInput } from '@aws-sdk/client-ecs';
import type { Operation } from '../service.ts';
import { arn, clusterName, shortName } from './names.ts';

export const createCluster: Operation = {
  run({ clusterName: name = 'default', tags = [] }: CreateClusterCommandInput, state) {
    const cluster = { clusterName: name, clusterArn: arn(state, `cluster/${name}`), status: 'ACTIVE', tags };
    state.ecs.clusters.set(name, cluster);
    return { cluster };
  },
};

export const deleteCluster: Operation = {
  run({ cluster }: { cluster: string }, state) {
    const found = state.ecs.clusters.get(clusterName(state, cluster))!;
    found.status = 'INACTIVE';
    return { cluster: found };
  },
};

export const describeClusters: Operation = {
  run({ clusters = ['default'] }: DescribeClustersCommandInput, state) {
    const found = clusters.flatMap((name) => state.ecs.clusters.get(shortName(name)) ?? []);
    const failures = clusters
      .filter((name) => !state.ecs.clusters.has(shortName(name)))
      .map((name) => ({ arn: arn(state, `cluster/${shortName(name)}`), reason: 'MISSING' }));
    const counted = found.map((cluster) => ({
      ...cluster,
      activeServicesCount: [...state.ecs.services.values()].filter(
        (one) => one.cluster === cluster.clusterName && one.status === 'ACTIVE',
      ).length,
    }));
    return { clusters: counted, failures };
  },
};
