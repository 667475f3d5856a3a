/** What the menu behind the status item offers. */

import type { Kind } from './status.js';

export interface MenuPlace {
  readonly kind: Kind;
  /** Of the active editor; null when there is none. */
  readonly languageId: string | null;
}

export interface MenuEntry {
  readonly label: string;
  readonly command: string;
  readonly arguments?: readonly unknown[];
}

const LOG: MenuEntry = { label: '$(output) Show the log', command: 'nemodiff.showLog' };
const RESTART: MenuEntry = {
  label: '$(debug-restart) Restart the language server',
  command: 'nemodiff.restartServer',
};
const SET_UP: MenuEntry = {
  label: '$(cloud-download) Set up NemoDiff…',
  command: 'nemodiff.setUp',
};
const SETTINGS: MenuEntry = {
  label: '$(gear) Open the settings',
  command: 'nemodiff.openSettings',
};

export function menuEntries(place: MenuPlace): readonly MenuEntry[] {
  if (place.kind === 'missing') {
    return [SET_UP, RESTART, SETTINGS, LOG];
  }
  if (place.kind === 'stopped' || place.kind === 'starting') {
    return [RESTART, SETTINGS, LOG];
  }
  return [
    ...switches(place),
    { label: '$(question) Why was nothing shown?', command: 'nemodiff.why' },
    { label: '$(settings) Choose the mode…', command: 'nemodiff.setMode' },
    { label: '$(refresh) Restart the engine', command: 'nemodiff.restartEngine' },
    RESTART,
    { label: '$(graph) Show the statistics', command: 'nemodiff.showStatistics' },
    { label: "$(list-unordered) Show the engine's log", command: 'nemodiff.showEngineLog' },
    LOG,
    SETTINGS,
  ];
}

function switches(place: MenuPlace): readonly MenuEntry[] {
  const isPaused = place.kind === 'paused';
  const everywhere: MenuEntry = {
    label: isPaused ? '$(play) Switch on' : '$(debug-pause) Switch off',
    command: 'nemodiff.toggle',
    arguments: [{ scope: 'global', enabled: isPaused }],
  };
  if (place.languageId === null) {
    return [everywhere];
  }
  return [
    everywhere,
    {
      label: `$(symbol-misc) Switch on or off for ${place.languageId}`,
      command: 'nemodiff.toggleLanguage',
    },
    { label: '$(file) Switch on or off for this file', command: 'nemodiff.toggleFile' },
  ];
}
