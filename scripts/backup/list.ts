import { flag, option, script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'List the backups in the store',
  step: 'Backup',
  example: 'npx tsx scripts/backup/list.ts --max-age 26h',
  settings: {},
  flags: { only: option('--only <part...>', 'x'), fail: flag('--fail', 'x') },
  lock: 'backup',
  changes: true,
  asks: true,
  async run({ report, settings, flags, host, confirm, change, signal }) {
    report.info(JSON.stringify({ settings, flags }));
    await change('one', [{ argv: ['ls', 'a b'] }], async (s) => {
      for (let i = 0; i < 10; i++) {
        s.progress({ done: i * 1e6, total: 1e7, unit: 'bytes' });
        await host.run({ argv: ['sleep', '0.2'] });
      }
      s.note('listed');
    });
    if (flags.fail) await host.run({ argv: ['ls', '/nonexist'] });
  },
});
