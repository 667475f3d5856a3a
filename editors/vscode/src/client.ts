/**
 * The language client of one server process. Imported when the server is started: loading the
 * library is most of what activation would take.
 */

import type * as vscode from 'vscode';
import { workspace } from 'vscode';
import {
  CloseAction,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  RevealOutputChannelOn,
  TransportKind,
  type DynamicFeature,
  type LanguageClientOptions,
  type StaticFeature,
} from 'vscode-languageclient/node';
import type { ServerCommand } from './logic/discovery.js';
import { KEYS } from './keys.js';
import { SECTION, chosenValues, initializationOptions } from './logic/settings.js';

/**
 * Failures are told by `service.ts`, once each; here they only go to the log.
 *
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

  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/**
 * cwd: a folder outside the workspace, so that nothing in there is taken for a module. onEnded: the
 * server that was up has ended, and not because the client was stopped.
 */
export function createClient(
  server: ServerCommand,
  cwd: string,
  channel: vscode.LogOutputChannel,
  onEnded: () => void,
): LanguageClient {
  const executable = {
    command: server.command,
    args: [...server.args],
    transport: TransportKind.stdio,
    options: { cwd },
  };
  const client: LanguageClient = new Client('nemodiff', 'NemoDiff', executable, {
    ...optionsOf(channel),
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        // One that ends while it starts is told of by `start`.
        if (client.isRunning()) {
          onEnded();
        }
        return { action: CloseAction.DoNotRestart, handled: true };
      },
    },
  });
  return client;
}

function optionsOf(channel: vscode.LogOutputChannel): LanguageClientOptions {
  return {
    documentSelector: [
      { scheme: 'file' },
      { scheme: 'untitled' },
      { scheme: 'vscode-notebook-cell' },
    ],
    outputChannel: channel,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationOptions: () =>
      initializationOptions(workspace.getConfiguration(SECTION), KEYS, workspace.isTrusted),
    // Its start fails with the error; who awaits that tells it.
    initializationFailedHandler: () => false,
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
}
