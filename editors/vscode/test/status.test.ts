import assert from 'node:assert/strict';
import { test } from 'node:test';
import { menuEntries } from '../src/logic/menu.js';
import { ownStatus, readStatus, viewOf, type Kind } from '../src/logic/status.js';
import packageJson from '../package.json';

const READY = { kind: 'ready', message: 'Ready.', perCent: null, nothingBecause: null } as const;

test("the server's notification is read as it is", () => {
  const params = { kind: 'loading', message: 'Reading.', perCent: 40, nothingBecause: null };
  assert.deepEqual(readStatus(params), params);
});

test('what is no status is none', () => {
  for (const params of [null, 3, {}, { kind: 'ready' }, { kind: 'flying', message: 'x' }]) {
    assert.equal(readStatus(params), null);
  }
});

test('fields of another shape count as not told', () => {
  assert.deepEqual(readStatus({ kind: 'ready', message: 'Ready.', perCent: 'half' }), READY);
});

test('loading shows the per cent', () => {
  const view = viewOf({ ...READY, kind: 'loading', perCent: 40 });
  assert.equal(view.text, '$(loading~spin) NemoDiff 40 %');
  assert.equal(viewOf({ ...READY, perCent: 40 }).text, '$(check) NemoDiff');
});

test('ready has device and model in its tooltip, as the server words it', () => {
  const message = 'qwen2.5-coder-0.5b is ready on cpu.';
  assert.equal(viewOf({ ...READY, message }).tooltip, message);
});

test('silence is seen, and why', () => {
  const view = viewOf({ ...READY, nothingBecause: 'The cursor is in a word.' });
  assert.equal(view.text, '$(circle-outline) NemoDiff');
  assert.match(view.tooltip, /Nothing was shown for the last request: The cursor is in a word\./);
});

test('a reason is not said twice', () => {
  const view = viewOf({
    ...READY,
    kind: 'excluded',
    message: 'A secret.',
    nothingBecause: 'A secret.',
  });
  assert.equal(view.tooltip, 'A secret.');
});

test('each state has its own look; trouble has a colour', () => {
  const kinds: Kind[] = ['loading', 'ready', 'busy', 'paused', 'excluded', 'error', 'missing'];
  const texts = kinds.map((kind) => viewOf(ownStatus(kind, 'x')).text);
  assert.equal(new Set(texts).size, kinds.length);
  assert.equal(viewOf(ownStatus('error', 'x')).background, 'error');
  assert.equal(viewOf(ownStatus('missing', 'x')).background, 'warning');
  assert.equal(viewOf(ownStatus('paused', 'x')).background, null);
});

test('without a server the menu offers to set one up', () => {
  const [first] = menuEntries({ kind: 'missing', languageId: 'python' });
  assert.equal(first?.command, 'nemodiff.setUp');
});

test('the menu switches everywhere, for the language and for the file', () => {
  const commands = menuEntries({ kind: 'ready', languageId: 'python' }).map((each) => each.command);
  assert.deepEqual(commands.slice(0, 3), [
    'nemodiff.toggle',
    'nemodiff.toggleLanguage',
    'nemodiff.toggleFile',
  ]);
  const bare = menuEntries({ kind: 'ready', languageId: null }).map((each) => each.command);
  assert.ok(!bare.includes('nemodiff.toggleFile'));
});

test('a paused server is offered to be switched on', () => {
  const [on] = menuEntries({ kind: 'paused', languageId: null });
  assert.deepEqual(on?.arguments, [{ scope: 'global', enabled: true }]);
  const [off] = menuEntries({ kind: 'ready', languageId: null });
  assert.deepEqual(off?.arguments, [{ scope: 'global', enabled: false }]);
});

test('every command of the menu is contributed', () => {
  const known = packageJson.contributes.commands.map((each) => each.command);
  for (const kind of ['ready', 'missing', 'stopped', 'error'] as const) {
    for (const entry of menuEntries({ kind, languageId: 'python' })) {
      assert.ok(known.includes(entry.command), entry.command);
    }
  }
});

test('no key is Tab, and each key has a contributed command', () => {
  const known = packageJson.contributes.commands.map((each) => each.command);
  for (const binding of packageJson.contributes.keybindings) {
    assert.doesNotMatch(binding.key, /tab|enter/i);
    assert.ok(known.includes(binding.command));
  }
});
