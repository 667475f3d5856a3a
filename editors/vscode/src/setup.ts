/** Makes the private environment: asks first, shows progress, can be stopped. */

import * as vscode from 'vscode';
import { InstallError, findPython, install, installSteps } from './logic/install.js';
import { SECTION } from './logic/settings.js';
import { run } from './processes.js';
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
  try {
    await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'NemoDiff', cancellable: true },
      (progress, token) => makeEnvironment(service, channel, progress, token),
    );
  } catch (error) {
    await tell(error, channel);
    return;
  }
  await service.restart();
}

async function makeEnvironment(
  service: Service,
  channel: vscode.LogOutputChannel,
  progress: vscode.Progress<{ message?: string }>,
  token: vscode.CancellationToken,
): Promise<void> {
  const aborter = new AbortController();
  token.onCancellationRequested(() => {
    aborter.abort();
  });
  const logged = (command: readonly string[]): ReturnType<typeof run> => {
    channel.info(`> ${command.join(' ')}`);
    return run(
      command,
      (line) => {
        channel.info(line);
      },
      aborter.signal,
    );
  };
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const requirement = configuration.get<string>('server.package') ?? 'nemodiff';
  await vscode.workspace.fs.createDirectory(service.storage);
  const python = await findPython((command) => run(command), null);
  await install(
    installSteps(python, service.privateFolder, requirement),
    logged,
    (title) => {
      progress.report({ message: `${title} …` });
    },
    () => token.isCancellationRequested,
  );
}

async function tell(error: unknown, channel: vscode.LogOutputChannel): Promise<void> {
  const isStopped = error instanceof Error && error.name === 'AbortError';
  const why = error instanceof InstallError ? error.message : String(error);
  const sentence = isStopped ? 'The installation was stopped.' : why;
  channel.error(sentence);
  const chosen = await vscode.window.showErrorMessage(sentence, 'Show the log');
  if (chosen !== undefined) {
    channel.show();
  }
}
