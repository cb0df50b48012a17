import { composeSettings, targetSettings } from '../app.ts';
import { list, optionalSetting, type Values } from '../settings.ts';

/** Where in AWS secrets are kept. */
export interface Address {
  readonly kind: 'secretsmanager' | 'ssm';
  /** The secret's name or ARN, or the path of the parameters with its last slash. */
  readonly name: string;
  readonly uri: string;
}

const SECRET = /^secretsmanager:((?:arn:aws[\w-]*:secretsmanager:[\w-]+:\d+:secret:)?[\w/+=.@-]+)$/;
const PATH = /^ssm:((?:\/[\w.-]+)+)\/?$/;

/** @throws Error that says which forms there are */
export function parseAddress(uri: string): Address {
  const [, secret] = SECRET.exec(uri) ?? [];
  if (secret) return { kind: 'secretsmanager', name: secret, uri };
  const [, path] = PATH.exec(uri) ?? [];
  if (path) return { kind: 'ssm', name: `${path}/`, uri };
  throw new Error(`"${uri}" is neither secretsmanager:NAME nor ssm:/PATH/`);
}

/** The settings of every script that handles secrets. */
export const secretsSettings = {
  ...targetSettings,
  ...composeSettings,
  SECRETS_FROM: optionalSetting('SECRETS_FROM', {
    about: 'where secrets are kept: secretsmanager:NAME, ssm:/PATH/, or several separated by commas',
    example: 'secretsmanager:bloaty/production',
    type: list(parseAddress),
  }),
  SECRETS_TEMPLATE: optionalSetting('SECRETS_TEMPLATE', {
    about:
      'the template of the env file, relative to APP_DIR (default: .env.template, if there is one): docs/secrets.md',
    example: 'deploy/env.template',
    type: (z) => z.string(),
  }),
};

export type SecretsSettings = Values<typeof secretsSettings> & {
  APP_DIR: string;
  AWS_REGION?: string | undefined;
};
