import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import packageJson from '../package.json';
import { registerCommands } from '../src/commands.js';
import { menuEntries } from '../src/logic/menu.js';
import { registered } from './vscode.js';

const { contributes } = packageJson;
// What an accepted completion carries is for no palette.
const HIDDEN = ['nemodiff.didAccept'];

registerCommands(null as never, null as never, null as never);

test('what the palette shows is registered, and the other way round', () => {
  const contributed = contributes.commands.map(({ command }) => command);
  assert.deepEqual([...contributed, ...HIDDEN].sort(), [...registered].sort());
});

test('keys name commands that exist, and no two the same key', () => {
  for (const { command } of contributes.keybindings) {
    assert.ok(registered.includes(command), command);
  }
  for (const side of ['key', 'mac'] as const) {
    const keys = contributes.keybindings.map((each) => (side in each ? each[side] : each.key));
    assert.equal(new Set(keys).size, keys.length, side);
  }
});

test('each step of the walkthrough has a button for a command that exists, and ends with it', () => {
  for (const { steps } of contributes.walkthroughs) {
    for (const { description, completionEvents, media } of steps) {
      const named = [...description.matchAll(/\(command:([\w.]+)\)/g)].map((match) => match[1]);
      assert.ok(named.length > 0);
      for (const name of named) {
        assert.ok(name !== undefined && registered.includes(name), name);
      }
      assert.deepEqual(completionEvents, [`onCommand:${String(named[0])}`]);
      assert.ok(readFileSync(media.markdown, 'utf-8').length > 0);
    }
  }
});

test('the menu leads to commands that exist', () => {
  for (const kind of ['ready', 'missing', 'stopped', 'paused', 'error'] as const) {
    for (const { command } of menuEntries({ kind, languageId: 'python' })) {
      assert.ok(registered.includes(command), command);
    }
  }
});
