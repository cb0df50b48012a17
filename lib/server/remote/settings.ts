import { appCommandSettings } from '../../app-commands.ts';
import { composeSettings } from '../../compose.ts';
import { opsbookSettings } from '../../host-opsbook.ts';
import { settingFamily } from '../../settings.ts';
import { targetSettings } from '../../target.ts';

/** What `remote` reads. */
export const remoteSettings = {
  ...targetSettings,
  ...composeSettings,
  ...appCommandSettings,
  ...opsbookSettings,
  REMOTE: settingFamily('REMOTE_', {
    about:
      "a command line of the app's own that `remote <name>` runs in its container; operands are appended",
    example: 'python -m app.invites create',
  }),
};
