import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../src/processes.js';

const NODE = process.execPath;
const FOREVER = 'setInterval(() => undefined, 1000)';
const PARENT = `
  const { spawn } = require('node:child_process');
  const child = spawn(process.execPath, ['-e', ${JSON.stringify(FOREVER)}], { stdio: 'inherit' });
  child.on('spawn', () => console.log('both'));
  ${FOREVER}
`;

test('lines of both streams are told, the last one that says something is kept', async () => {
  const lines: string[] = [];
  const code =
    'console.log("one\\n"); console.error("two"); process.stdout.write(""); process.exit(3)';
  const done = await run([NODE, '-e', code], (line) => lines.push(line));
  assert.equal(done.code, 3);
  assert.ok(lines.includes('one') && lines.includes('two'));
  assert.ok(['one', 'two'].includes(done.lastLine));
});

test('a last line without an end is a line', async () => {
  assert.equal((await run([NODE, '-e', 'process.stdout.write("half")'])).lastLine, 'half');
});

test('a program that is not there rejects', async () => {
  await assert.rejects(run(['/nowhere/program']), /ENOENT/);
});

// Its output is at an end only when both have ended, and the promise is settled only then.
test('what is aborted ends with all that it has started', { timeout: 30_000 }, async () => {
  const aborter = new AbortController();
  const running = run(
    [NODE, '-e', PARENT],
    () => {
      aborter.abort();
    },
    aborter.signal,
  );
  await assert.rejects(running, { name: 'AbortError' });
});

test('what is aborted before is not started', async () => {
  const aborter = new AbortController();
  aborter.abort();
  await assert.rejects(run([NODE, '-e', ''], undefined, aborter.signal), { name: 'AbortError' });
});
