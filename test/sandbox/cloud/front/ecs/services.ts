import type {
  DeleteServiceCommandInput,
  DeploymentConfiguration,
  DescribeServicesCommandInput,
  UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { groupOf } from '../elbv2/targets.ts';
import { AwsError } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { revisionOf } from './definitions.ts';
import { deploy } from './deployments.ts';
import { serviceJson } from './describe.ts';
import { arn, clusterName, serviceOf, shortName, wire } from './names.ts';
import type { CreateInput, Service } from './state.ts';

const bad = (text: string): AwsError => new AwsError('InvalidParameterException', text);

/** What is not said of a rolling deployment, as AWS takes it to be. */
function configuration(given: DeploymentConfiguration = {}): DeploymentConfiguration {
  const whole = {
    deploymentCircuitBreaker: { enable: false, rollback: false },
    minimumHealthyPercent: 100,
    maximumPercent: 200,
    ...given,
  };
  const { maximumPercent = 200, minimumHealthyPercent = 100 } = whole;
  if (maximumPercent <= 100 && minimumHealthyPercent >= 100)
    throw bad('Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.');
  return whole;
}

async function checkTargets({ loadBalancers = [] }: CreateInput, state: State): Promise<void> {
  for (const { targetGroupArn = '' } of loadBalancers) {
    const { config } = await groupOf(state, targetGroupArn);
    if (!config.used)
      throw bad(
        `The target group with targetGroupArn ${targetGroupArn} does not have an associated load balancer.`,
      );
    if (config.type !== 'ip')
      throw bad(
        `The provided target group ${targetGroupArn} has target type ${config.type}, which is incompatible with the awsvpc network mode specified in the task definition.`,
      );
  }
}

export const createService: Operation = {
  async run(input: CreateInput, state) {
    const cluster = clusterName(state, input.cluster);
    const name = input.serviceName ?? '';
    const key = `${cluster}/${name}`;
    if (state.ecs.services.get(key)?.status === 'ACTIVE')
      throw bad('Creation of service was not idempotent.');
    if (state.ecs.services.get(key)?.status === 'DRAINING')
      throw bad('Unable to Start a service that is still Draining.');
    await checkTargets(input, state);
    const service: Service = {
      name,
      arn: arn(state, `service/${cluster}/${name}`),
      cluster,
      status: 'ACTIVE',
      input: { ...input, deploymentConfiguration: configuration(input.deploymentConfiguration) },
      desired: input.desiredCount ?? 1,
      created: new Date(),
      deployments: [],
      events: [],
      records: [],
    };
    deploy(service, revisionOf(state, input.taskDefinition), state);
    state.ecs.services.set(key, service);
    return wire({ service: serviceJson(service, state) });
  },
};

/** An answer from before the last update, as long as there is one to be given. */
function staleJson({ stale }: Service): unknown {
  if (!stale || stale.left === 0) return undefined;
  stale.left -= 1;
  return stale.told;
}

export const describeServices: Operation = {
  run({ cluster, services = [] }: DescribeServicesCommandInput, state) {
    const name = clusterName(state, cluster);
    const found = services.flatMap((one) => state.ecs.services.get(`${name}/${shortName(one)}`) ?? []);
    const failures = services
      .filter((one) => !state.ecs.services.has(`${name}/${shortName(one)}`))
      .map((one) => ({ arn: arn(state, `service/${name}/${shortName(one)}`), reason: 'MISSING' }));
    const told = found.map((one) => staleJson(one) ?? wire(serviceJson(one, state)));
    return { services: told, failures };
  },
};

/** Settings that only come into being with a new deployment; any other is changed without one. */
const DEPLOYING = ['taskDefinition', 'forceNewDeployment', 'loadBalancers', 'networkConfiguration'] as const;

export const updateService: Operation = {
  async run(input: UpdateServiceCommandInput, state) {
    const service = serviceOf(state, input.cluster, input.service);
    const { deploymentConfiguration, desiredCount, taskDefinition, healthCheckGracePeriodSeconds } = input;
    const revision = taskDefinition ? revisionOf(state, taskDefinition) : service.deployments[0]!.revision;
    if (revision.json.status !== 'ACTIVE')
      throw new AwsError('ClientException', 'TaskDefinition is inactive');
    if (input.loadBalancers)
      await checkTargets({ ...service.input, loadBalancers: input.loadBalancers }, state);
    if (deploymentConfiguration)
      service.input.deploymentConfiguration = configuration(deploymentConfiguration);
    if (desiredCount !== undefined) service.desired = desiredCount;
    if (healthCheckGracePeriodSeconds !== undefined)
      service.input.healthCheckGracePeriodSeconds = healthCheckGracePeriodSeconds;
    if (input.loadBalancers) service.input.loadBalancers = input.loadBalancers;
    if (input.networkConfiguration) service.input.networkConfiguration = input.networkConfiguration;
    service.stale = { told: wire(serviceJson(service, state)), left: state.ecs.faults.stale };
    const changed = revision !== service.deployments[0]!.revision || input.forceNewDeployment;
    if (changed && DEPLOYING.some((name) => input[name])) deploy(service, revision, state);
    return wire({ service: serviceJson(service, state) });
  },
};

export const deleteService: Operation = {
  run({ cluster, service: name, force }: DeleteServiceCommandInput, state) {
    const service = serviceOf(state, cluster, name);
    if (service.desired > 0 && !force) throw bad('The service cannot be stopped while it is scaled above 0.');
    service.status = 'DRAINING';
    return wire({ service: serviceJson(service, state) });
  },
};
