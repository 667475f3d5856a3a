import assert from 'node:assert/strict';
import { test } from 'node:test';
import { environmentPython } from '../src/logic/discovery.js';
import { InstallError, findPython, install, installSteps, type Run } from '../src/logic/install.js';

const OK = { code: 0, lastLine: '' };
const STEPS = installSteps(['python3'], '/env', 'nemodiff');
const never = (): boolean => false;

test('the first Python that is new enough is taken', async () => {
  const run: Run = ([program]) =>
    program === 'python3' ? Promise.resolve(OK) : Promise.resolve({ code: 1, lastLine: '' });
  assert.deepEqual(await findPython(run, null), ['python3']);
});

test('a Python that is not there is passed over', async () => {
  const run: Run = ([program]) =>
    program === 'py' ? Promise.resolve(OK) : Promise.reject(new Error('ENOENT'));
  assert.deepEqual(await findPython(run, '/gone'), ['py', '-3']);
});

test('without any the sentence says what is needed', async () => {
  const run: Run = () => Promise.reject(new Error('ENOENT'));
  await assert.rejects(findPython(run, null), /Python 3\.11 or newer/);
});

test('everything goes into the private environment', () => {
  const own = environmentPython('/env');
  assert.deepEqual(STEPS[0]?.command, ['python3', '-m', 'venv', '--clear', '/env']);
  for (const step of STEPS.slice(1)) {
    assert.equal(step.command[0], own);
  }
  assert.ok(STEPS.at(-1)?.command.includes('nemodiff'));
});

test('the steps run in order and are reported', async () => {
  const ran: string[] = [];
  const told: string[] = [];
  const run: Run = (command) => {
    ran.push(command.join(' '));
    return Promise.resolve(OK);
  };
  await install(STEPS, run, (title) => told.push(title), never);
  assert.equal(ran.length, 3);
  assert.deepEqual(
    told,
    STEPS.map((step) => step.title),
  );
});

test('pip follows where uv finds nothing', async () => {
  const ran: (readonly string[])[] = [];
  const run: Run = (command) => {
    ran.push(command);
    return Promise.resolve(command.includes('--torch-backend') ? { code: 2, lastLine: 'x' } : OK);
  };
  await install(STEPS, run, () => undefined, never);
  assert.deepEqual(ran.at(-1)?.slice(1, 4), ['-m', 'pip', 'install']);
});

test('a failure ends it with the last words', async () => {
  const ran: unknown[] = [];
  const run: Run = (command) => {
    ran.push(command);
    return Promise.resolve({ code: 1, lastLine: 'No module named venv' });
  };
  await assert.rejects(
    install(STEPS, run, () => undefined, never),
    (error) => error instanceof InstallError && error.message.includes('No module named venv'),
  );
  assert.equal(ran.length, 1);
});

test('it can be stopped between two steps', async () => {
  let isStopped = false;
  const run: Run = () => {
    isStopped = true;
    return Promise.resolve(OK);
  };
  await assert.rejects(
    install(
      STEPS,
      run,
      () => undefined,
      () => isStopped,
    ),
    /was stopped/,
  );
});
