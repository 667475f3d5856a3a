import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  PROBE_ARGS,
  SettingError,
  environmentPython,
  findServer,
  isSameServer,
  toolCommand,
  type Places,
  type Probe,
} from '../src/logic/discovery.js';

const OWN = environmentPython('/private');
const NOWHERE: Places = {
  setting: [],
  activePython: () => Promise.resolve(null),
  privatePython: () => Promise.resolve(OWN),
  isTrusted: true,
};
const active = (): Promise<string> => Promise.resolve('/active');

function probeOf(
  pythons: readonly string[],
  program: string | null = null,
): Probe & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    hasNemodiff: (python) => {
      asked.push(python);
      return Promise.resolve(pythons.includes(python));
    },
    onPath: () => Promise.resolve(program),
  };
}

test('the setting goes before everything and is not probed', async () => {
  const probe = probeOf(['/active'], '/bin/nemodiff');
  const places = {
    ...NOWHERE,
    setting: ['/my/nemodiff', 'lsp', '--model', 'x'],
    activePython: active,
  };
  const found = await findServer(places, probe);
  assert.deepEqual(found, {
    source: 'setting',
    command: '/my/nemodiff',
    args: ['lsp', '--model', 'x'],
  });
  assert.deepEqual(probe.asked, []);
});

test('then the active Python environment, safe from modules of the workspace', async () => {
  const found = await findServer(
    { ...NOWHERE, activePython: active },
    probeOf(['/active'], '/bin/nemodiff'),
  );
  assert.deepEqual(found, {
    source: 'python',
    command: '/active',
    args: ['-P', '-m', 'nemodiff_lsp'],
  });
});

test('an environment without NemoDiff is passed over for the program on PATH', async () => {
  const found = await findServer(
    { ...NOWHERE, activePython: active },
    probeOf([], '/bin/nemodiff'),
  );
  assert.deepEqual(found, { source: 'path', command: '/bin/nemodiff', args: ['lsp'] });
});

test('the interpreter of a folder that is not trusted is never run', async () => {
  const probe = probeOf(['/active']);
  const found = await findServer({ ...NOWHERE, activePython: active, isTrusted: false }, probe);
  assert.equal(found, null);
  assert.ok(!probe.asked.includes('/active'));
});

test('last comes the private environment, if it is whole', async () => {
  assert.equal((await findServer(NOWHERE, probeOf([OWN])))?.source, 'private');
  assert.equal(await findServer(NOWHERE, probeOf([])), null);
  const none = { ...NOWHERE, privatePython: () => Promise.resolve(null) };
  assert.equal(await findServer(none, probeOf([OWN])), null);
});

test('an empty word as setting counts as none', async () => {
  assert.equal(await findServer({ ...NOWHERE, setting: [''] }, probeOf([])), null);
});

test('a setting that is no list of words is told', async () => {
  for (const setting of ['nemodiff lsp', [1], {}]) {
    await assert.rejects(
      findServer({ ...NOWHERE, setting }, probeOf([])),
      (error) => error instanceof SettingError && error.message.includes('list of words'),
    );
  }
});

test('the active interpreter is not asked for where a setting names the server', async () => {
  const activePython = (): Promise<string> => Promise.reject(new Error('asked'));
  const found = await findServer({ ...NOWHERE, setting: ['/n'], activePython }, probeOf([]));
  assert.equal(found?.source, 'setting');
});

test('the private interpreter lies where venv puts it', () => {
  assert.match(environmentPython('/e', 'linux'), /bin.python$/);
  assert.match(environmentPython('/e', 'win32'), /Scripts.python\.exe$/);
});

test('other tools of the installation are found beside the server', () => {
  const module = { source: 'python', command: '/py', args: ['-P', '-m', 'nemodiff_lsp'] } as const;
  assert.deepEqual(toolCommand(module, ['stats']), ['/py', '-P', '-m', 'engine', 'stats']);
  const program = { source: 'path', command: '/bin/nemodiff', args: ['lsp'] } as const;
  assert.deepEqual(toolCommand(program, ['engine', 'logs']), ['/bin/nemodiff', 'engine', 'logs']);
  const strange = { source: 'setting', command: '/wrapper.sh', args: [] } as const;
  assert.equal(toolCommand(strange, ['stats']), null);
});

test('servers are compared by what is run', () => {
  const one = { source: 'path', command: 'a', args: ['lsp'] } as const;
  assert.ok(isSameServer(one, { ...one }));
  assert.ok(!isSameServer(one, { ...one, args: ['lsp', '-x'] }));
  assert.ok(!isSameServer(one, null));
});

test('the probe does not look into the current folder', () => {
  assert.equal(PROBE_ARGS[0], '-P');
});
