/** The active Python interpreter, if the Python extension is there; it is optional. */

import * as vscode from 'vscode';

const EXTENSION = 'ms-python.python';

interface PythonEnvironments {
  getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
  resolveEnvironment(
    path: unknown,
  ): Promise<{ readonly executable: { readonly uri?: vscode.Uri } } | undefined>;
  readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
}

async function environments(): Promise<PythonEnvironments | null> {
  const extension = vscode.extensions.getExtension<{ environments?: PythonEnvironments }>(
    EXTENSION,
  );
  if (extension === undefined) {
    return null;
  }
  return (await extension.activate()).environments ?? null;
}

export async function activePython(): Promise<string | null> {
  try {
    const api = await environments();
    if (api !== null) {
      const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
      const found = await api.resolveEnvironment(api.getActiveEnvironmentPath(folder));
      if (found?.executable.uri !== undefined) {
        return found.executable.uri.fsPath;
      }
    }
  } catch {
    // Another extension's trouble is not ours: the other places are looked at.
  }
  const named = vscode.workspace.getConfiguration('python').get<string>('defaultInterpreterPath');
  return named === undefined || named === '' || named.includes('${') ? null : named;
}

/** Calls `action` when another interpreter is chosen. */
export async function onPythonChanged(action: () => void): Promise<vscode.Disposable> {
  try {
    const api = await environments();
    return api?.onDidChangeActiveEnvironmentPath(action) ?? new vscode.Disposable(() => undefined);
  } catch {
    return new vscode.Disposable(() => undefined);
  }
}
