/** The server's life: found, started, restarted; at most one start is under way at a time. */

import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';
import { KEYS } from './keys.js';
import {
  MISSING_SENTENCE,
  findServer,
  isSameServer,
  type ServerCommand,
} from './logic/discovery.js';
import { SECTION } from './logic/settings.js';
import { STATUS_METHOD, ownStatus, readStatus } from './logic/status.js';
import { probe } from './processes.js';
import { activePython } from './python.js';
import type { StatusItem } from './statusItem.js';

const STOP_MS = 3000;

export class Service implements vscode.Disposable {
  #client: LanguageClient | null = null;
  #server: ServerCommand | null = null;
  #work: Promise<void> = Promise.resolve();
  #isQueued = false;

  constructor(
    private readonly item: StatusItem,
    private readonly channel: vscode.LogOutputChannel,
    /** Holds the private environment; the server runs in there. */
    readonly storage: vscode.Uri,
  ) {}

  get server(): ServerCommand | null {
    return this.#server;
  }

  get privateFolder(): string {
    return vscode.Uri.joinPath(this.storage, 'environment').fsPath;
  }

  /** Stop the server, if one runs, and start the one that is found now. */
  restart(): Promise<void> {
    if (!this.#isQueued) {
      this.#isQueued = true;
      this.#work = this.#work.then(async () => {
        this.#isQueued = false;
        await this.#stop();
        await this.#start();
      });
    }
    return this.#work;
  }

  /** Start anew only if another server is found than the one that runs. */
  async restartIfOther(): Promise<void> {
    if (!isSameServer(await this.#find(), this.#server)) {
      await this.restart();
    }
  }

  /** Run a command of the server; null when it does not run. */
  async execute(command: string, args: readonly unknown[]): Promise<unknown> {
    const client = this.#client;
    if (client?.isRunning() !== true) {
      void vscode.window.showWarningMessage(`NemoDiff: ${this.item.status.message}`);
      return null;
    }
    return client.sendRequest('workspace/executeCommand', { command, arguments: [...args] });
  }

  get client(): LanguageClient | null {
    return this.#client;
  }

  /** Settings have changed: those of the engine need a new server, it asks for the others. */
  async configure(event: vscode.ConfigurationChangeEvent): Promise<void> {
    const restarting = [...KEYS.engine, 'server'].map((key) => `${SECTION}.${key}`);
    if (restarting.some((key) => event.affectsConfiguration(key))) {
      await this.restart();
    } else if (this.#client?.isRunning() === true) {
      await this.#client.sendNotification('workspace/didChangeConfiguration', { settings: null });
    }
  }

  async stop(): Promise<void> {
    await this.#work;
    await this.#stop();
  }

  dispose(): void {
    void this.stop();
  }

  async #find(): Promise<ServerCommand | null> {
    const command = vscode.workspace.getConfiguration(SECTION).get<string[]>('server.command');
    return findServer(
      {
        setting: command ?? [],
        activePython: await activePython(),
        privateFolder: this.privateFolder,
        isTrusted: vscode.workspace.isTrusted,
      },
      probe,
    );
  }

  async #start(): Promise<void> {
    this.item.show(ownStatus('starting', 'NemoDiff is starting.'));
    this.#server = await this.#find();
    if (this.#server === null) {
      this.item.show(ownStatus('missing', MISSING_SENTENCE));
      void this.#offerSetUp();
      return;
    }
    await vscode.workspace.fs.createDirectory(this.storage);
    this.channel.info(`Server: ${[this.#server.command, ...this.#server.args].join(' ')}`);
    const { createClient, onStopped } = await import('./client.js');
    const client = createClient(this.#server, this.storage.fsPath, this.channel);
    this.#client = client;
    client.onNotification(STATUS_METHOD, (params: unknown) => {
      const status = readStatus(params);
      if (status !== null && client === this.#client) {
        this.item.show(status);
      }
    });
    onStopped(client, () => {
      if (client === this.#client) {
        this.item.show(ownStatus('stopped', 'The language server has stopped; see the log.'));
      }
    });
    try {
      await client.start();
    } catch (error) {
      this.#tellFailure(error);
    }
  }

  async #stop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    if (client !== null) {
      this.item.show(ownStatus('stopped', 'The language server is stopped.'));
      // A server that never came up rejects, and one that hangs is killed by the client.
      await client.dispose(STOP_MS).catch(() => undefined);
    }
  }

  #tellFailure(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.channel.error(why);
    const sentence = 'The language server could not be started; the log says why.';
    this.item.show(ownStatus('error', sentence));
    void vscode.window.showErrorMessage(`NemoDiff: ${sentence}`, 'Show the log').then((chosen) => {
      if (chosen !== undefined) {
        this.channel.show();
      }
    });
  }

  async #offerSetUp(): Promise<void> {
    const setUp = 'Set up NemoDiff';
    const chosen = await vscode.window.showInformationMessage(MISSING_SENTENCE, setUp);
    if (chosen === setUp) {
      await vscode.commands.executeCommand('nemodiff.setUp');
    }
  }
}
