/** The status bar item. */

import * as vscode from 'vscode';
import { ownStatus, viewOf, type Background, type Status } from './logic/status.js';

const COLOURS: Readonly<Record<NonNullable<Background>, string>> = {
  error: 'statusBarItem.errorBackground',
  warning: 'statusBarItem.warningBackground',
};

export class StatusItem implements vscode.Disposable {
  readonly #item = vscode.window.createStatusBarItem(
    'nemodiff.status',
    vscode.StatusBarAlignment.Right,
    100,
  );
  #status = ownStatus('starting', 'NemoDiff is starting.');

  constructor() {
    this.#item.name = 'NemoDiff';
    this.#item.command = 'nemodiff.showMenu';
    this.show(this.#status);
    this.#item.show();
  }

  get status(): Status {
    return this.#status;
  }

  show(status: Status): void {
    this.#status = status;
    const view = viewOf(status);
    this.#item.text = view.text;
    this.#item.tooltip = view.tooltip;
    this.#item.accessibilityInformation = { label: `NemoDiff: ${view.tooltip}`, role: 'button' };
    this.#item.backgroundColor =
      view.background === null ? undefined : new vscode.ThemeColor(COLOURS[view.background]);
  }

  dispose(): void {
    this.#item.dispose();
  }
}
