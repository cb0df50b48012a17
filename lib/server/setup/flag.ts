import { option } from '../../script.ts';
import { systemNamed, systemNames } from './system.ts';

export const userDataFlag = option(
  '--user-data <system>',
  `print a script that does it all at first boot, for ${systemNames.join(', ')}; no host is asked`,
  (raw) => {
    const system = systemNamed(raw);
    if (!system) throw new Error(`is none of ${systemNames.join(', ')}`);
    return system;
  },
);
