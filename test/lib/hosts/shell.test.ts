import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Secret } from '../../../lib/secret.ts';
import { type Command, cmd, secretsOf, shellText } from '../../../lib/shell.ts';

const awkward = ['a  b', "o'brien", '"q"', '$HOME', '`id`', '\\', '*', '', '-n', 'new\nline', '#x', '~', 'ü'];

/** What a POSIX shell makes of a command's text. */
const said = (command: Command) => execFileSync('sh', ['-c', shellText(command)], { encoding: 'utf8' });

test('every word reaches the command as it is', () => {
  const command: Command = cmd`printf ${'%s\\0'} ${awkward}`;
  assert.deepEqual(said(command).split('\0').slice(0, -1), awkward);
});

test('a variable has its value, whatever is in it, and the folder is the one told', () => {
  for (const value of awkward)
    assert.equal(said({ ...cmd`sh -c ${'printf %s "$V"'}`, env: { V: value } }), value);
  assert.equal(said({ ...cmd`pwd`, cwd: '/usr/share' }), '/usr/share\n');
});

test('a secret variable is not in the text', () => {
  const command: Command = { ...cmd`true`, env: { OPEN: 'seen', HIDDEN: new Secret('swordfish') } };
  assert.match(shellText(command), /OPEN=seen/);
  assert.doesNotMatch(shellText(command), /swordfish|HIDDEN/);
  assert.deepEqual(
    secretsOf(command).map(([name]) => name),
    ['HIDDEN'],
  );
});

test('a folder that is not there is named', () => {
  assert.throws(() => said({ ...cmd`pwd`, cwd: "/no'where" }), /\/no'where is not there to run it in/);
});
