import { AwsError, invalid } from '../errors.ts';

export interface SendInput {
  DocumentName?: string;
  InstanceIds?: string[];
  Targets?: { Key?: string; Values?: string[] }[];
  Comment?: string;
  TimeoutSeconds?: number;
  Parameters?: Record<string, string[]>;
  MaxConcurrency?: string;
  MaxErrors?: string;
  OutputS3BucketName?: string;
}

const known = ['commands', 'workingDirectory', 'executionTimeout'];
const CONCURRENCY = /^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$/;
const ERRORS = /^([1-9][0-9]*|[0]|[1-9][0-9]%|[0-9]%|100%)$/;

/** What the API's own model says of SendCommand's parameters, in its words. @throws AwsError */
function checkModel(input: SendInput): void {
  const { DocumentName, InstanceIds = [], Targets = [], Comment = '', TimeoutSeconds = 3600 } = input;
  if (DocumentName === undefined) throw invalid('documentName', null, 'Member must not be null');
  if (InstanceIds.length > 50)
    throw invalid('instanceIds', InstanceIds, 'Member must have length less than or equal to 50');
  const badId = InstanceIds.find((id) => !/^(i-(\w{8}|\w{17})|mi-\w{17})$/.test(id));
  if (badId !== undefined)
    throw invalid(
      'instanceIds',
      InstanceIds,
      'Member must satisfy constraint: [Member must satisfy regular expression pattern: (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$)]',
    );
  if (Targets.length > 5)
    throw invalid('targets', Targets, 'Member must have length less than or equal to 5');
  for (const { Values = [] } of Targets)
    if (Values.length > 50)
      throw invalid('targets.member.values', Values, 'Member must have length less than or equal to 50');
  if (Comment.length > 100)
    throw invalid('comment', Comment, 'Member must have length less than or equal to 100');
  if (TimeoutSeconds < 30)
    throw invalid('timeoutSeconds', TimeoutSeconds, 'Member must have value greater than or equal to 30');
  if (TimeoutSeconds > 2_592_000)
    throw invalid('timeoutSeconds', TimeoutSeconds, 'Member must have value less than or equal to 2592000');
  if (!CONCURRENCY.test(input.MaxConcurrency ?? '50'))
    throw invalid(
      'maxConcurrency',
      input.MaxConcurrency,
      `Member must satisfy regular expression pattern: ${CONCURRENCY.source}`,
    );
  if (!ERRORS.test(input.MaxErrors ?? '0'))
    throw invalid(
      'maxErrors',
      input.MaxErrors,
      `Member must satisfy regular expression pattern: ${ERRORS.source}`,
    );
}

/** What the document AWS-RunShellScript asks of its parameters. @throws AwsError */
function checkDocument({ DocumentName, Parameters = {} }: SendInput): void {
  const name = DocumentName?.split('/').at(-1);
  if (name !== 'AWS-RunShellScript')
    throw new AwsError('InvalidDocument', `Document with name ${DocumentName} does not exist.`);
  const wrong = Object.keys(Parameters).find((key) => !known.includes(key));
  if (wrong !== undefined)
    throw new AwsError('InvalidParameters', `Parameter "${wrong}" is not defined in the document.`);
  if (!Parameters.commands || Parameters.commands.length === 0)
    throw new AwsError('InvalidParameters', 'Parameter "commands" requires a value.');
  const [timeout = '3600'] = Parameters.executionTimeout ?? [];
  // The document's allowedPattern: 1 to 172800.
  if (!/^([1-9][0-9]{0,4}|1[0-6][0-9]{4}|17[0-1][0-9]{3}|172[0-7][0-9]{2}|172800)$/.test(timeout))
    throw new AwsError('InvalidParameters', `Parameter "executionTimeout" has an invalid value: ${timeout}`);
}

/** @throws AwsError as AWS would for the same input */
export function checkSend(input: SendInput): void {
  checkModel(input);
  checkDocument(input);
  const { InstanceIds = [], Targets = [] } = input;
  if (InstanceIds.length > 0 && Targets.length > 0)
    throw new AwsError('InvalidParameters', 'InstanceIds and Targets cannot be specified together.');
  if (InstanceIds.length === 0 && Targets.length === 0)
    throw new AwsError('InvalidInstanceId', 'Instances [[]] not in a valid state for account');
  const badKey = Targets.find(({ Key = '' }) => !/^(tag:.+|tag-key|InstanceIds)$/.test(Key));
  if (badKey) throw new AwsError('InvalidTarget', `The target key ${badKey.Key} is not valid.`);
  if (input.OutputS3BucketName)
    throw new AwsError(
      'UnsupportedFeatureRequiredException',
      'The sandbox writes no output of commands to S3.',
    );
}
