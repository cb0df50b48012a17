import { composeSettings } from '../../compose.ts';
import { list, setting } from '../../settings.ts';
import { WebAddress } from '../../web.ts';
import { healthSettings } from '../settings.ts';

/** What is tried before a deployment, on the machine of whoever develops it. */
export const validateSettings = {
  COMPOSE_FILE: composeSettings.COMPOSE_FILE,
  SECRETS_FILE: composeSettings.SECRETS_FILE,
  HEALTH_TIMEOUT: healthSettings.HEALTH_TIMEOUT,
  VALIDATE_URLS: setting('VALIDATE_URLS', {
    about: 'addresses that have to answer 200, and, in JSON, nothing unhealthy; separated by commas',
    example: 'http://localhost:8000/health,http://localhost:8000/docs',
    type: list(parseUrl),
  }),
};

function parseUrl(raw: string): WebAddress {
  if (!URL.canParse(raw) || !/^https?:\/\//.test(raw))
    throw new Error('has an item that is not an http(s) URL');
  return new WebAddress(raw);
}
