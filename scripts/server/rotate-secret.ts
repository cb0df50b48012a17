import { script } from '../../lib/script.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: 'Replace a generated secret or a PostgreSQL password everywhere, proven, or undone',
  step: 'Rotate a secret',
  example: 'npx tsx scripts/server/rotate-secret.ts POSTGRES_PASSWORD',
  settings: secretsSettings,
  operands: { '<name>': 'the name of the secret' },
  changes: true,
  reports: true,
  asks: true,
  lock: 'secrets',
  async run(context) {
    const { settings, operands, report, host, confirm, dryRun, json } = context;
    const { journal } = await import('../../lib/server/rotate.ts');
    const { planRotation } = await import('../../lib/server/rotate-plan.ts');
    const { proveOld, rotate } = await import('../../lib/server/rotate.ts');
    const { refuseNewValue } = await import('../../lib/server/rotate.ts');

    const [name = ''] = operands;
    const notes = journal(host, settings.APP_DIR);
    const plan = await planRotation(name, settings, host, notes);
    const { rotation, continued, roles, users } = plan;
    if (continued)
      report.warn(`the rotation of ${name} that began ${rotation.began} was cut off; going on with it`);
    await refuseNewValue(plan);
    await proveOld(plan, context);

    const known = roles.map(({ role }) => `the role ${role.name} in ${role.service}`);
    report.info(`${name} is known to: ${[...known, ...users].join(', ') || 'no service that Compose knows'}`);
    const restart = users.length > 0 ? ` and recreates ${users.join(', ')}` : '';
    await confirm(`This changes ${name}${restart}. Go on?`);
    await rotate(plan, settings, notes, context);
    if (dryRun) return;
    const done = { name, roles: roles.map(({ role }) => `${role.service}/${role.name}`), recreated: users };
    report.data(json ? JSON.stringify(done) : name);
  },
});
