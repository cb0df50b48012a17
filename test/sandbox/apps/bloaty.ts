import { randomBytes } from 'node:crypto';
import type { ComposeApp } from './compose-app.ts';

/** One EC2 host: nginx, web, worker, PostgreSQL, Redis; uploads in a directory. */
export const bloaty: ComposeApp = {
  name: 'bloaty',
  host: { name: 'bloaty', user: 'ec2-user', morePorts: [] },
  images: {
    'sandbox/postgres:17': 'postgres',
    'sandbox/redis:8': 'redis',
    'sandbox/web:1.0.0': 'web',
    'sandbox/nginx:1.26': 'nginx',
    // for deployments of other apps to the same host
    'sandbox/caddy:2.6': 'caddy',
  },
  directories: ['uploads'],
  files: ['docker-compose.yml', 'web.env', 'nginx.conf'],
  settings: () => {
    const password = randomBytes(24).toString('base64'); // as the guide makes it, with its `/` and `+`
    return {
      POSTGRES_PASSWORD: password,
      DATABASE_URL: `postgresql://postgres:${encodeURIComponent(password)}@db:5432/bloaty`,
      REDIS_URL: 'redis://redis:6379/0',
      SESSION_SECRET_KEY: randomBytes(32).toString('hex'),
      APP_VERSION: '1.0.0',
    };
  },
};
