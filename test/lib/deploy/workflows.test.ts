import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { findings, scriptsOf } from './workflow-rules.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const systems = ['bloaty', 'chitram', 'codemonet', 'hermes', 'spotter'];
const workflows = globSync('docs/workflows/*.yml', { cwd: root }).sort();

test('there is a workflow for each of the five systems', () => {
  assert.deepEqual(
    workflows,
    systems.map((system) => `docs/workflows/${system}.yml`),
  );
});

for (const path of workflows) {
  test(`${path} has no finding of actionlint, and none of ours`, () => {
    assert.deepEqual(findings(read(path), path), []);
  });
}

/** The flags that a script states, and those that every script has. */
const helps = new Map<string, string>();
function helpOf(script: string): string {
  const known = helps.get(script);
  if (known !== undefined) return known;
  const help = execFileSync(process.execPath, ['--import', 'tsx', join(root, script), '--help'], {
    encoding: 'utf8',
    cwd: root,
  });
  helps.set(script, help);
  return help;
}

for (const path of workflows) {
  const used = scriptsOf(read(path));
  test(`${path} runs scripts that exist, by flags that they have`, () => {
    assert.ok(used.some(({ script }) => script === 'scripts/deploy/update-deployment.ts'));
    for (const { script, flags } of used)
      for (const flag of flags)
        assert.match(helpOf(script), new RegExp(`^ +${flag}\\b`, 'm'), `${script} ${flag}`);
  });
}

test('✗ long-lived keys of an IAM user: no workflow has any, each assumes a role by OIDC', () => {
  for (const path of workflows) {
    assert.doesNotMatch(
      read(path),
      /aws-(access-key-id|secret-access-key)|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)/,
      path,
    );
    if (!path.includes('chitram')) assert.match(read(path), /role-to-assume/, path);
  }
});

test('✗ the GitHub release is created before deploy and verify: here it comes after', () => {
  for (const path of workflows.filter((one) => read(one).includes('--github')))
    assert.match(read(path), /\n {2}release:\n {4}needs: deploy\n/, path);
});

// Each rule, on a workflow that breaks it.
const good = read('docs/workflows/spotter.yml');
const broken: Record<string, [from: string | RegExp, to: string, finding: RegExp]> = {
  'an action by its tag': [
    /configure-aws-credentials@.*/,
    'configure-aws-credentials@v5',
    /not pinned to a commit/,
  ],
  '✗ an input put into a shell': ['"$VERSION"', '"${{ github.ref_name }}"', /put into a shell's text/],
  'permissions of everything': ['permissions: {}\n', '', /no permissions at the top/],
  'a job with the permissions of the top': [
    / {4}permissions:\n {6}contents: write\n/,
    '',
    /release has no permissions/,
  ],
  'an OIDC token without a use': ['contents: write', 'id-token: write', /id-token without a use/],
  'a deployment that may be cut off': [
    'cancel-in-progress: false',
    'cancel-in-progress: true',
    /cuts a deployment off/,
  ],
  'a job without a timeout': [/ {4}timeout-minutes: 60\n/, '', /may run for six hours/],
  'a job that waits for one that is not there': ['needs: build', 'needs: biuld', /biuld/],
  'an expression that does not exist': ['github.token', 'github.tokn', /tokn/],
};

for (const [what, [from, to, finding]] of Object.entries(broken)) {
  test(`a workflow with ${what} is found`, () => {
    const text = good.replace(from, to);
    assert.notEqual(text, good);
    assert.match(findings(text, 'broken.yml').join('\n'), finding);
  });
}
