import type {
  ListServiceDeploymentsCommandInput,
  ServiceDeployment,
  StopServiceDeploymentCommandInput,
} from '@aws-sdk/client-ecs';
import { AwsError } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { isOpen, mark, rollBack } from './deployments.ts';
import { clusterName, shortName, wire } from './names.ts';

const all = ({ ecs }: State): ServiceDeployment[] =>
  [...ecs.services.values()].flatMap(({ records }) => records);

export const listServiceDeployments: Operation = {
  run({ cluster, service, status, createdAt }: ListServiceDeploymentsCommandInput, state) {
    const found = state.ecs.services.get(`${clusterName(state, cluster)}/${shortName(service ?? '')}`);
    if (!found) throw new AwsError('ServiceNotFoundException', 'Service not found.');
    const seconds = (date: Date | undefined): number => (date ? date.getTime() / 1000 : Number.NaN);
    const after = Number(createdAt?.after ?? 0);
    const serviceDeployments = found.records
      .filter((one) => !status?.length || status.includes(one.status!))
      .filter((one) => seconds(one.createdAt) >= after)
      .map(({ targetServiceRevision, ...one }) => ({
        serviceDeploymentArn: one.serviceDeploymentArn,
        serviceArn: one.serviceArn,
        clusterArn: one.clusterArn,
        startedAt: one.startedAt,
        createdAt: one.createdAt,
        finishedAt: one.finishedAt,
        targetServiceRevisionArn: targetServiceRevision?.arn,
        status: one.status,
        statusReason: one.statusReason,
      }));
    return wire({ serviceDeployments });
  },
};

export const describeServiceDeployments: Operation = {
  run({ serviceDeploymentArns = [] }: { serviceDeploymentArns?: string[] }, state) {
    const serviceDeployments = all(state).filter((one) =>
      serviceDeploymentArns.includes(one.serviceDeploymentArn!),
    );
    const failures = serviceDeploymentArns
      .filter((arn) => !serviceDeployments.some((one) => one.serviceDeploymentArn === arn))
      .map((arn) => ({ arn, reason: 'MISSING' }));
    return wire({ serviceDeployments, failures });
  },
};

export const describeServiceRevisions: Operation = {
  run({ serviceRevisionArns = [] }: { serviceRevisionArns?: string[] }, { ecs }) {
    const serviceRevisions = serviceRevisionArns.flatMap((serviceRevisionArn) => {
      const known = ecs.revisions.get(serviceRevisionArn);
      if (!known) return [];
      const { service, revision } = known;
      return [
        { serviceRevisionArn, serviceArn: service.arn, taskDefinition: revision.json.taskDefinitionArn },
      ];
    });
    return { serviceRevisions, failures: [] };
  },
};

export const stopServiceDeployment: Operation = {
  run({ serviceDeploymentArn = '', stopType = 'ROLLBACK' }: StopServiceDeploymentCommandInput, state) {
    const service = [...state.ecs.services.values()].find(({ records }) =>
      records.some((one) => one.serviceDeploymentArn === serviceDeploymentArn),
    );
    const record = service?.records.find((one) => one.serviceDeploymentArn === serviceDeploymentArn);
    if (!service || !record)
      throw new AwsError('ServiceDeploymentNotFoundException', 'Service deployment not found.');
    const primary = service.deployments[0]!;
    if (!isOpen(record) || primary.record !== record || record.rollback)
      throw new AwsError(
        'ConflictException',
        'The service deployment cannot be stopped in its current state.',
      );
    record.stoppedAt = new Date();
    primary.rollout = 'FAILED';
    primary.reason = 'Service deployment stopped by the user.';
    if (stopType === 'ROLLBACK') rollBack(service, primary, state, 'Service deployment rollback requested');
    else mark(record, 'STOPPED', primary.reason);
    return { serviceDeploymentArn };
  },
};
