/** What the user is told when there is no server: one sentence each, with what to do as buttons. */

import * as vscode from 'vscode';
import { MISSING_SENTENCE, SettingError, type ServerCommand } from './logic/discovery.js';
import { ownStatus } from './logic/status.js';
import type { StatusItem } from './statusItem.js';

type Actions = Readonly<Record<string, readonly [command: string, ...args: unknown[]]>>;

const SET_UP: Actions = { 'Set up NemoDiff': ['nemodiff.setUp'] };
const RESTART: Actions = { Restart: ['nemodiff.restartServer'] };
const SHOW_LOG: Actions = { 'Show the log': ['nemodiff.showLog'] };
const OPEN_SETTING: Actions = {
  'Open the setting': ['workbench.action.openSettings', 'nemodiff.server.command'],
};

export class Trouble {
  constructor(
    private readonly item: StatusItem,
    private readonly channel: vscode.LogOutputChannel,
  ) {}

  isMissing(): void {
    void offer(vscode.window.showInformationMessage, MISSING_SENTENCE, SET_UP);
  }

  /** server: the one that was found; null when none could be looked for. */
  couldNotStart(server: ServerCommand | null, error: unknown): void {
    this.channel.error(error instanceof Error ? error.message : String(error));
    if (error instanceof SettingError) {
      this.#tell(error.message, OPEN_SETTING);
    } else if (server?.source === 'setting') {
      const sentence = `"${server.command}", named by nemodiff.server.command, is no language server or does not start; the log says more.`;
      this.#tell(sentence, { ...OPEN_SETTING, ...SHOW_LOG });
    } else {
      const sentence = 'The language server could not be started; the log says why.';
      this.#tell(sentence, { ...RESTART, ...SHOW_LOG });
    }
  }

  keepsEnding(): void {
    const sentence = 'The language server keeps ending and is not started any more.';
    this.#tell(sentence, { ...RESTART, ...SHOW_LOG });
  }

  #tell(sentence: string, actions: Actions): void {
    this.item.show(ownStatus('error', sentence));
    void offer(vscode.window.showErrorMessage, `NemoDiff: ${sentence}`, actions);
  }
}

async function offer(
  show: (message: string, ...buttons: string[]) => Thenable<string | undefined>,
  sentence: string,
  actions: Actions,
): Promise<void> {
  const chosen = await show(sentence, ...Object.keys(actions));
  const action = chosen === undefined ? undefined : actions[chosen];
  if (action !== undefined) {
    await vscode.commands.executeCommand(...action);
  }
}
