/** Makes the private environment: asks first, shows progress, can be stopped. */

import { homedir } from 'node:os';
import * as vscode from 'vscode';
import {
  InstallError,
  STOPPED_SENTENCE,
  findPython,
  install,
  installSteps,
  packageOf,
  type Machine,
  type Run,
} from './logic/install.js';
import { SECTION } from './logic/settings.js';
import { exists, probe, run } from './processes.js';
import type { Service } from './service.js';

const CONSENT =
  'NemoDiff makes a Python environment of its own and installs its language server there. ' +
  'This downloads packages (PyTorch among them, several hundred megabytes); the model follows ' +
  'with the first completion. No other environment is touched.';

export async function setUp(service: Service, channel: vscode.LogOutputChannel): Promise<void> {
  const yes = 'Install';
  const options = { modal: true, detail: CONSENT };
  const chosen = await vscode.window.showInformationMessage('Set up NemoDiff?', options, yes);
  if (chosen !== yes) {
    return;
  }
  const source = await chosenSource();
  if (source === undefined) {
    return;
  }
  try {
    await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'NemoDiff', cancellable: true },
      (progress, token) => makeEnvironment(source, service, channel, progress, token),
    );
  } catch (error) {
    await tell(error, channel);
    return;
  }
  await service.restart();
}

/**
 * What is installed: the setting, or a clone that the user shows. There is no default name: one that
 * the project does not own on an index could be anybody's.
 */
async function chosenSource(): Promise<string | undefined> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const setting = configuration.get<string>('server.package')?.trim();
  if (setting !== undefined && setting !== '') {
    return setting;
  }
  const chosen = await vscode.window.showOpenDialog({
    canSelectFiles: false,
    canSelectFolders: true,
    title: "Choose the folder of NemoDiff's clone",
    openLabel: 'Install from here',
  });
  return chosen?.[0]?.fsPath;
}

/** Ended with the window: nobody would see how it went on. */
const underWay = new Set<AbortController>();

export function stopSetUp(): void {
  for (const aborter of underWay) {
    aborter.abort();
  }
}

async function makeEnvironment(
  source: string,
  service: Service,
  channel: vscode.LogOutputChannel,
  progress: vscode.Progress<{ message?: string }>,
  token: vscode.CancellationToken,
): Promise<void> {
  const aborter = new AbortController();
  underWay.add(aborter);
  token.onCancellationRequested(() => {
    aborter.abort();
  });
  const show = (line: string): void => {
    channel.info(line);
  };
  const logged: Run = (command) => {
    show(`> ${command.join(' ')}`);
    return run(command, show, aborter.signal);
  };
  try {
    const wanted = await packageOf(source, homedir(), exists);
    const machine = await thisMachine(aborter.signal);
    await service.environments.renew((folder) =>
      install(
        installSteps(machine, folder, wanted),
        logged,
        (title) => {
          progress.report({ message: `${title} …` });
        },
        () => aborter.signal.aborted,
      ),
    );
  } finally {
    underWay.delete(aborter);
  }
}

async function thisMachine(signal: AbortSignal): Promise<Machine> {
  return {
    platform: process.platform,
    hasGpu: (await probe.onPath('nvidia-smi')) !== null,
    uv: await probe.onPath('uv'),
    python: await findPython((command) => run(command, undefined, signal)),
  };
}

async function tell(error: unknown, channel: vscode.LogOutputChannel): Promise<void> {
  const sentence = error instanceof Error ? error.message : String(error);
  channel.error(sentence);
  if (sentence === STOPPED_SENTENCE) {
    void vscode.window.showInformationMessage(sentence);
    return;
  }
  const shown = error instanceof InstallError ? sentence : `NemoDiff: ${sentence}`;
  const chosen = await vscode.window.showErrorMessage(shown, 'Show the log');
  if (chosen !== undefined) {
    channel.show();
  }
}
