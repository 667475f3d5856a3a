import assert from 'node:assert/strict';
import { test } from 'node:test';
import { environmentPython } from '../src/logic/discovery.js';
import {
  InstallError,
  TORCH,
  findPython,
  install,
  installSteps,
  packageOf,
  type Machine,
  type Run,
} from '../src/logic/install.js';

const OK = { code: 0, lastLine: '' };
const LINUX: Machine = { platform: 'linux', hasGpu: false, uv: null, python: ['python3'] };
const PACKAGE = { requirement: 'nemodiff', constraints: null };
const STEPS = installSteps(LINUX, '/env', PACKAGE);
const never = (): boolean => false;
const commandsOf = (machine: Machine): (readonly string[])[] =>
  installSteps(machine, '/env', PACKAGE).flatMap((step) => step.ways.flat());

/** A machine on which commands with one of these words fail; `ran` has them all. */
function machineWithout(...words: string[]): { run: Run; ran: string[] } {
  const ran: string[] = [];
  const run: Run = (command) => {
    ran.push(command.join(' '));
    const fails = words.some((word) => command.includes(word));
    return Promise.resolve(fails ? { code: 1, lastLine: `no ${words.join()}` } : OK);
  };
  return { run, ran };
}

test('the first Python that is new enough is taken', async () => {
  const run: Run = ([program]) =>
    program === 'python3' ? Promise.resolve(OK) : Promise.resolve({ code: 1, lastLine: '' });
  assert.deepEqual(await findPython(run), ['python3']);
});

test('a Python that is not there is passed over', async () => {
  const run: Run = ([program]) =>
    program === 'py' ? Promise.resolve(OK) : Promise.reject(new Error('ENOENT'));
  assert.deepEqual(await findPython(run), ['py', '-3']);
});

test('without Python and uv the sentence says what is needed', async () => {
  const python = await findPython(() => Promise.reject(new Error('ENOENT')));
  assert.equal(python, null);
  assert.throws(() => installSteps({ ...LINUX, python }, '/env', PACKAGE), /Python 3\.11 or newer/);
});

test('uv makes the environment where Python cannot', async () => {
  const steps = installSteps({ ...LINUX, uv: '/bin/uv' }, '/env', PACKAGE);
  const { run, ran } = machineWithout('python3');
  await install(steps, run, () => undefined, never);
  assert.match(ran[1] ?? '', /^\/bin\/uv venv .*\/env$/);
});

test('everything goes into the private environment', () => {
  const own = environmentPython('/env', 'linux');
  assert.deepEqual(STEPS[0]?.ways[0], [['python3', '-m', 'venv', '/env']]);
  for (const step of STEPS.slice(1)) {
    for (const command of step.ways.flat()) {
      assert.equal(command[0], own);
    }
  }
});

test('a Linux machine without a GPU is never given the CUDA build', () => {
  const torch = commandsOf(LINUX).filter((each) => each.some((word) => word.includes('torch==')));
  const builds = torch.slice(0, -1);
  assert.ok(builds.length >= 2);
  for (const command of builds) {
    assert.ok(
      command.includes(`torch==${TORCH}+cpu`) ||
        command[command.indexOf('--torch-backend') + 1] === 'cpu',
    );
  }
  // The package itself comes last, bound to the version that is there.
  assert.ok(torch.at(-1)?.includes(`torch==${TORCH}`) && torch.at(-1)?.includes('nemodiff'));
});

test('with a GPU the build is chosen for it, and elsewhere the usual one is right', () => {
  assert.ok(commandsOf({ ...LINUX, hasGpu: true }).some((each) => each.includes('auto')));
  const mac = commandsOf({ ...LINUX, platform: 'darwin' });
  assert.ok(mac[1]?.includes(`torch==${TORCH}`) && !mac.flat().includes('--torch-backend'));
});

test('the steps run in order and are reported', async () => {
  const { run, ran } = machineWithout();
  const told: string[] = [];
  await install(STEPS, run, (title) => told.push(title), never);
  assert.equal(ran.length, STEPS.length);
  assert.deepEqual(
    told,
    STEPS.map((step, index) => `${step.title} (${index + 1} of ${STEPS.length})`),
  );
});

test('uv follows where pip finds no CPU build', async () => {
  const { run, ran } = machineWithout(`torch==${TORCH}+cpu`);
  await install(STEPS, run, () => undefined, never);
  assert.match(ran[3] ?? '', /-m uv pip install .*--torch-backend cpu/);
});

test('a clone is installed with the versions that it is tested with, or else without', async () => {
  const there = (): Promise<boolean> => Promise.resolve(true);
  const wanted = await packageOf('~/clone', '/home/me', there);
  assert.deepEqual(wanted, {
    requirement: '/home/me/clone',
    constraints: '/home/me/clone/constraints.txt',
  });
  const { run, ran } = machineWithout('-c/home/me/clone/constraints.txt', '-c');
  const steps = installSteps(LINUX, '/env', wanted).slice(0, 3);
  await install(steps, run, () => undefined, never);
  assert.match(ran.at(-2) ?? '', /-c \/home\/me\/clone\/constraints.txt \/home\/me\/clone/);
  assert.match(ran.at(-1) ?? '', /--no-input \/home\/me\/clone/);
});

test('a path to nowhere is told before anything is made', async () => {
  const nowhere = packageOf('/gone', '/home/me', () => Promise.resolve(false));
  await assert.rejects(nowhere, /There is no \/gone: let the setting/);
  assert.deepEqual(await packageOf(' nemodiff ', '/home/me', never as never), PACKAGE);
});

test('a failure ends it with the last words', async () => {
  const { run, ran } = machineWithout('venv');
  await assert.rejects(
    install(STEPS, run, () => undefined, never),
    (error) => error instanceof InstallError && error.message.includes('no venv'),
  );
  assert.equal(ran.length, 1);
});

test('where the package is on no index, the sentence says what to name instead', async () => {
  const lastLine = 'ERROR: No matching distribution found for nemodiff';
  const run: Run = (command) =>
    Promise.resolve(command.includes('nemodiff') ? { code: 1, lastLine } : OK);
  await assert.rejects(
    install(STEPS, run, () => undefined, never),
    /let nemodiff\.server\.package name a clone/,
  );
});

test('it can be stopped between two steps, and a stopped command is no other failure', async () => {
  for (const end of [() => Promise.resolve(OK), () => Promise.reject(new Error('killed'))]) {
    let isStopped = false;
    const run: Run = () => {
      isStopped = true;
      return end();
    };
    await assert.rejects(
      install(
        STEPS,
        run,
        () => undefined,
        () => isStopped,
      ),
      /was stopped; nothing was changed/,
    );
  }
});
