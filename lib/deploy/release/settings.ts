import { optionalSetting, secret, setting } from '../../settings.ts';

/** The settings by which GitHub is reached; the names, and in its workflows the values, are GitHub's own. */
export const githubSettings = {
  GITHUB_TOKEN: optionalSetting('GITHUB_TOKEN', {
    about: 'a token that may write the contents of the repository; for release --github alone',
    example: 'ghp_0123456789abcdef0123456789abcdef0123',
    sensitive: true,
    type: secret,
  }),
  GITHUB_REPOSITORY: optionalSetting('GITHUB_REPOSITORY', {
    about: 'the repository on GitHub; else that of the remote origin',
    example: 'example/drawing-agent',
    type: (z) => z.string().regex(/^[\w.-]+\/[\w.-]+$/, 'is not owner/name'),
  }),
  GITHUB_API_URL: setting('GITHUB_API_URL', {
    about: "the address of GitHub's API",
    example: 'https://github.example.org/api/v3',
    default: 'https://api.github.com',
    type: (z) => z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }),
  }),
};
