import { optionalSetting, setting } from './settings.ts';

/** The app's own commands, and the container that they run in. */
export const appCommandSettings = {
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
};
