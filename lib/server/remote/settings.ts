import { composeSettings } from '../../compose.ts';
import { optionalSetting, setting, settingFamily } from '../../settings.ts';
import { targetSettings } from '../../target.ts';

/** What `remote` reads. */
export const remoteSettings = {
  ...targetSettings,
  ...composeSettings,
  APP_SERVICE: setting('APP_SERVICE', {
    about: "the compose service in which the app's own commands run",
    example: 'web',
    default: 'web',
    type: (z) => z.string().regex(/^[\w.-]+$/, 'is not the name of a service'),
  }),
  MIGRATE_COMMAND: optionalSetting('MIGRATE_COMMAND', {
    about: "the command line that migrates the database, run in the app's container",
    example: 'alembic upgrade head',
    type: (z) => z.string(),
  }),
  REMOTE: settingFamily('REMOTE_', {
    about:
      "a command line of the app's own that `remote <name>` runs in its container; operands are appended",
    example: 'python -m app.invites create',
  }),
};
