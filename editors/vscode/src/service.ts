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
import { Environments } from './logic/environments.js';
import { Restarts } from './logic/restarts.js';
import { SECTION, initializationOptions } from './logic/settings.js';
import { STATUS_METHOD, ownStatus, readStatus } from './logic/status.js';
import { probe } from './processes.js';
import { activePython } from './python.js';
import type { StatusItem } from './statusItem.js';
import { Trouble } from './trouble.js';

const STOP_MS = 3000;

export class Service {
  /** The private environments; the server runs beside them. */
  readonly environments: Environments;
  #client: LanguageClient | null = null;
  #server: ServerCommand | null = null;
  #work: Promise<void> = Promise.resolve();
  #started: Promise<void> = Promise.resolve();
  #startedWith = '';
  #isQueued = false;
  #isOver = false;
  readonly #restarts = new Restarts();
  readonly #trouble: Trouble;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly item: StatusItem,
    private readonly channel: vscode.LogOutputChannel,
    private readonly storage: vscode.Uri,
  ) {
    this.environments = new Environments(storage.fsPath);
    this.#trouble = new Trouble(item, channel);
  }

  get server(): ServerCommand | null {
    return this.#server;
  }

  get client(): LanguageClient | null {
    return this.#client;
  }

  /** Stop the server, if one runs, and start the one that is found now. */
  restart(): Promise<void> {
    this.#restarts.forget();
    // From now on: the same change may be told again before the start.
    this.#startedWith = this.#wishes();
    return this.#renew();
  }

  /** Start anew only if another server is found than the one that runs. */
  async restartIfOther(): Promise<void> {
    const found = await this.#find().catch(() => null);
    if (!isSameServer(found, this.#server)) {
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
    return this.#send(client, command, args);
  }

  /** Run a command of the server if it runs; the user has not asked for it. */
  async tell(command: string, args: readonly unknown[]): Promise<void> {
    if (this.#client?.isRunning() === true) {
      await this.#send(this.#client, command, args);
    }
  }

  /**
   * Settings or trust have changed: what the server was started with needs a new one, for all else
   * it asks. One change may be told several times.
   */
  async configure(): Promise<void> {
    if (this.#wishes() !== this.#startedWith) {
      await this.restart();
    } else if (this.#client?.isRunning() === true) {
      await this.#client.sendNotification('workspace/didChangeConfiguration', { settings: null });
    }
  }

  /** For good; VS Code waits some seconds for it at most. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#stop();
  }

  #renew(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#isQueued) {
      this.#isQueued = true;
      this.#work = this.#work
        .then(async () => {
          this.#isQueued = false;
          await this.#stop();
          await this.#start();
        })
        .catch((error: unknown) => {
          this.#trouble.couldNotStart(this.#server, error);
        });
    }
    return this.#work;
  }

  #wishes(): string {
    const configuration = vscode.workspace.getConfiguration(SECTION);
    const options = initializationOptions(configuration, KEYS, vscode.workspace.isTrusted);
    return JSON.stringify([configuration.get<unknown>('server.command'), options]);
  }

  async #find(): Promise<ServerCommand | null> {
    return findServer(
      {
        setting: vscode.workspace.getConfiguration(SECTION).get<unknown>('server.command'),
        activePython,
        privatePython: () => this.environments.python(),
        isTrusted: vscode.workspace.isTrusted,
      },
      probe,
    );
  }

  async #start(): Promise<void> {
    this.item.show(ownStatus('starting', 'NemoDiff is starting.'));
    this.#server = null;
    const server = await this.#find();
    this.#server = server;
    if (server === null) {
      this.item.show(ownStatus('missing', MISSING_SENTENCE));
      this.#trouble.isMissing();
      return;
    }
    await vscode.workspace.fs.createDirectory(this.storage);
    this.channel.info(`Server: ${[server.command, ...server.args].join(' ')}`);
    const { createClient } = await import('./client.js');
    if (this.#isOver) {
      return;
    }
    const client = createClient(server, this.storage.fsPath, this.channel, () => {
      this.#ended(client);
    });
    this.#client = client;
    client.onNotification(STATUS_METHOD, (params: unknown) => {
      const status = readStatus(params);
      if (status !== null && client === this.#client) {
        this.item.show(status);
      }
    });
    // Not awaited: a server that never answers must not keep the next one from being started.
    this.#started = client.start().catch((error: unknown) => {
      this.#failed(client, error);
    });
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = null;
    if (client !== null) {
      this.item.show(ownStatus('stopped', 'The language server is stopped.'));
      // One that is starting cannot be stopped; in vain after a while, it is killed by the client.
      await Promise.race([this.#started, new Promise((resolve) => setTimeout(resolve, STOP_MS))]);
      await client.dispose(STOP_MS).catch(() => undefined);
    }
  }

  #failed(client: LanguageClient, error: unknown): void {
    if (client === this.#client && this.#restarts.isUnderWay) {
      this.#ended(client);
    } else if (client === this.#client) {
      this.#trouble.couldNotStart(this.#server, error);
    }
  }

  #ended(client: LanguageClient): void {
    if (client !== this.#client || this.#isOver) {
      return;
    }
    const delayMs = this.#restarts.next(Date.now());
    if (delayMs === null) {
      this.#trouble.keepsEnding();
      return;
    }
    this.item.show(ownStatus('starting', 'The language server has ended and is started again.'));
    this.#timer = setTimeout(() => void this.#renew(), delayMs);
  }

  async #send(client: LanguageClient, command: string, args: readonly unknown[]): Promise<unknown> {
    try {
      const params = { command, arguments: [...args] };
      return await client.sendRequest('workspace/executeCommand', params);
    } catch (error) {
      // The server answers whatever can be answered: it has ended, or is being stopped.
      this.channel.warn(`${command}: ${String(error)}`);
      return null;
    }
  }
}
