/** NemoDiff for VS Code: finds and starts the language server, shows how it stands. */

import * as vscode from 'vscode';
import { registerCommands } from './commands.js';
import { SECTION } from './logic/settings.js';
import { onPythonChanged } from './python.js';
import { Service } from './service.js';
import { stopSetUp } from './setup.js';
import { StatusItem } from './statusItem.js';

let service: Service | null = null;

export function activate(context: vscode.ExtensionContext): void {
  const channel = vscode.window.createOutputChannel('NemoDiff', { log: true });
  const item = new StatusItem();
  const running = new Service(item, channel, context.globalStorageUri);
  service = running;
  context.subscriptions.push(
    channel,
    item,
    ...registerCommands(running, item, channel),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(SECTION)) {
        void running.configure();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void running.configure()),
  );
  // Not awaited: VS Code waits for activation, and nobody needs the server before it is there.
  void running.restart();
  void onPythonChanged(() => void running.restartIfOther()).then((subscription) => {
    context.subscriptions.push(subscription);
  });
}

export async function deactivate(): Promise<void> {
  stopSetUp();
  await service?.stop();
}
