import { createCluster, deleteCluster, describeClusters } from './ecs/clusters.ts';
import { removeStrays } from './ecs/containers.ts';
import {
  deregisterTaskDefinition,
  describeTaskDefinition,
  listTagsForResource,
  listTaskDefinitions,
  registerTaskDefinition,
  tagResource,
} from './ecs/definitions.ts';
import {
  describeServiceDeployments,
  describeServiceRevisions,
  listServiceDeployments,
  stopServiceDeployment,
} from './ecs/records.ts';
import { schedule } from './ecs/scheduler.ts';
import { createService, deleteService, describeServices, updateService } from './ecs/services.ts';
import { type EcsFaults, noFaults } from './ecs/state.ts';
import { describeTasks, listTasks, runTask, stopTask } from './ecs/tasks.ts';
import { AwsError } from './errors.ts';
import { changed } from './faults.ts';
import type { Service } from './service.ts';
import type { State } from './state.ts';

let scheduling = false;

/** The first call of ECS begins the scheduler; until then the front has nothing to look after. */
function before(operation: string, state: State): void {
  if (!scheduling) {
    scheduling = true;
    void removeStrays().then(() => schedule(state));
  }
  const { faults } = state.ecs;
  const meant = faults.throttleOnly.length === 0 || faults.throttleOnly.includes(operation);
  if (!meant || faults.throttle === 0) return;
  faults.throttle -= 1;
  throw new AwsError('ThrottlingException', 'Rate exceeded');
}

/** ECS whole: nothing of it is moto's. */
export const ecs: Service = {
  protocol: 'json-1.1',
  before,
  operations: {
    CreateCluster: createCluster,
    DeleteCluster: deleteCluster,
    DescribeClusters: describeClusters,
    RegisterTaskDefinition: registerTaskDefinition,
    DescribeTaskDefinition: describeTaskDefinition,
    ListTaskDefinitions: listTaskDefinitions,
    DeregisterTaskDefinition: deregisterTaskDefinition,
    TagResource: tagResource,
    ListTagsForResource: listTagsForResource,
    CreateService: createService,
    DescribeServices: describeServices,
    UpdateService: updateService,
    DeleteService: deleteService,
    ListServiceDeployments: listServiceDeployments,
    DescribeServiceDeployments: describeServiceDeployments,
    DescribeServiceRevisions: describeServiceRevisions,
    StopServiceDeployment: stopServiceDeployment,
    ListTasks: listTasks,
    DescribeTasks: describeTasks,
    RunTask: runTask,
    StopTask: stopTask,
  },
  control: {
    get: ({ ecs }) => ecs.faults,
    set: (change, { ecs }) => {
      ecs.faults = changed<EcsFaults>(ecs.faults, change);
    },
    reset: ({ ecs }) => {
      ecs.faults = noFaults();
    },
  },
};
