/** Stands for VS Code in tests without it: what is registered, and nothing else. */

export const registered: string[] = [];

export const commands = {
  registerCommand(name: string): { dispose: () => void } {
    registered.push(name);
    return { dispose: () => undefined };
  },
};

export const window = {};
export const workspace = {};
export const extensions = {};
export const ProgressLocation = {};
