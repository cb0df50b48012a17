import { randomBytes } from 'node:crypto';
import type { ComposeApp } from './compose-app.ts';

/** One droplet: Caddy, web, PostgreSQL, Redis with a password, and an S3-compatible object store for the images. */
export const chitram: ComposeApp = {
  name: 'chitram',
  host: { name: 'chitram', user: 'deploy', morePorts: [9000] },
  images: {
    'sandbox/postgres:17': 'postgres',
    'sandbox/redis:8': 'redis',
    'sandbox/web:1.0.0': 'web',
    'sandbox/caddy:2.6': 'caddy',
    'sandbox/swift:2.35': 'swift',
  },
  directories: [],
  files: ['docker-compose.yml', 'Caddyfile'],
  settings: () => {
    const password = randomBytes(24).toString('base64');
    const redisPassword = randomBytes(16).toString('hex');
    return {
      POSTGRES_USER: 'chitram',
      POSTGRES_PASSWORD: password,
      POSTGRES_DB: 'chitram',
      DATABASE_URL: `postgresql://chitram:${encodeURIComponent(password)}@db:5432/chitram`,
      REDIS_PASSWORD: redisPassword,
      REDIS_URL: `redis://:${redisPassword}@redis:6379/0`,
      OBJECT_STORE_ACCESS_KEY: 'chitram:app',
      OBJECT_STORE_SECRET_KEY: randomBytes(20).toString('hex'),
      APP_VERSION: '1.0.0',
    };
  },
};
