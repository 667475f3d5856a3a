/**
 * The language client of one server process. Imported when the server is started: loading the
 * library is most of what activation would take.
 */

import type * as vscode from 'vscode';
import { workspace } from 'vscode';
import {
  ExecuteCommandRequest,
  LanguageClient,
  RevealOutputChannelOn,
  State,
  TransportKind,
  type DynamicFeature,
  type LanguageClientOptions,
  type StaticFeature,
} from 'vscode-languageclient/node';
import type { ServerCommand } from './logic/discovery.js';
import { KEYS } from './keys.js';
import { SECTION, chosenValues, initializationOptions } from './logic/settings.js';

/**
 * Leaves the server's commands to `commands.ts`: registered by the client they would have no
 * arguments when called from the palette, and the names that the server has for clients of other
 * servers would collide with other extensions.
 */
class Client extends LanguageClient {
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const method = 'registrationType' in feature ? feature.registrationType.method : null;
    if (method !== ExecuteCommandRequest.method) {
      super.registerFeature(feature);
    }
  }
}

/** cwd: a folder outside the workspace, so that nothing in there is taken for a module. */
export function createClient(
  server: ServerCommand,
  cwd: string,
  channel: vscode.LogOutputChannel,
): LanguageClient {
  const options: LanguageClientOptions = {
    documentSelector: [
      { scheme: 'file' },
      { scheme: 'untitled' },
      { scheme: 'vscode-notebook-cell' },
    ],
    outputChannel: channel,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationOptions: () =>
      initializationOptions(workspace.getConfiguration(SECTION), KEYS, workspace.isTrusted),
    middleware: {
      workspace: {
        configuration: (params, token, next) => {
          const isOurs = params.items.every((item) => item.section === SECTION);
          const configuration = workspace.getConfiguration(SECTION);
          return isOurs
            ? params.items.map(() => chosenValues(configuration, KEYS.all))
            : next(params, token);
        },
      },
    },
  };
  const executable = {
    command: server.command,
    args: [...server.args],
    transport: TransportKind.stdio,
    options: { cwd },
  };
  return new Client('nemodiff', 'NemoDiff', executable, options);
}

/** Calls `action` when the server has ended, whoever ended it. */
export function onStopped(client: LanguageClient, action: () => void): void {
  client.onDidChangeState(({ newState }) => {
    if (newState === State.Stopped) {
      action();
    }
  });
}
