import assert from 'node:assert/strict';
import { test } from 'node:test';
import packageJson from '../package.json';
import {
  chosenValues,
  initializationOptions,
  serverKeys,
  type Configuration,
  type Inspected,
} from '../src/logic/settings.js';

const KEYS = serverKeys(packageJson.contributes.configuration.properties);

/** Every setting has a default; `chosen` are those that somebody has set. */
function configurationOf(
  chosen: Record<string, unknown>,
  where: keyof Inspected = 'globalValue',
): Configuration {
  return {
    get: (key) => (key in chosen ? chosen[key] : 'the default'),
    inspect: (key) => (key in chosen ? { [where]: chosen[key] } : {}),
  };
}

test("the server's settings are all but the extension's own", () => {
  assert.ok(KEYS.all.includes('mode') && KEYS.all.includes('excludePatterns'));
  assert.ok(KEYS.all.every((key) => !key.startsWith('server.')));
  assert.deepEqual([...KEYS.engine].sort(), [
    'engineSocket',
    'engineTokenFile',
    'engineUrl',
    'model',
    'trusted',
  ]);
});

test('defaults are not sent, so that the files of the user count', () => {
  assert.deepEqual(chosenValues(configurationOf({}), KEYS.all), {});
  assert.deepEqual(chosenValues(configurationOf({ mode: 'ar' }), KEYS.all), { mode: 'ar' });
});

test('a value counts wherever it was set', () => {
  for (const where of ['globalValue', 'workspaceValue', 'workspaceFolderValue'] as const) {
    const configuration = configurationOf({ enabled: false }, where);
    assert.deepEqual(chosenValues(configuration, KEYS.all), { enabled: false });
  }
});

test('null means: not set', () => {
  assert.deepEqual(chosenValues(configurationOf({ deadlineMs: null }), KEYS.all), {});
});

test('an unknown setting is not asked for', () => {
  const configuration: Configuration = {
    get: () => assert.fail('asked'),
    inspect: () => undefined,
  };
  assert.deepEqual(chosenValues(configuration, KEYS.all), {});
});

test('the server learns its engine, the trust and the wish for status at once', () => {
  const configuration = configurationOf({ model: 'm', mode: 'ar' });
  assert.deepEqual(initializationOptions(configuration, KEYS, false), {
    model: 'm',
    isTrusted: false,
    'nemodiff.status': true,
  });
});

test('what a folder must not set is restricted, and cannot be set there', () => {
  const properties: Record<string, { scope?: string }> =
    packageJson.contributes.configuration.properties;
  const machine = Object.keys(properties).filter((name) => properties[name]?.scope === 'machine');
  const { restrictedConfigurations } = packageJson.capabilities.untrustedWorkspaces;
  assert.deepEqual([...restrictedConfigurations].sort(), machine.sort());
  assert.ok(machine.includes('nemodiff.server.command'));
});
