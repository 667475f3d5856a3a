/**
 * Where the language server is: named by a setting, in the active Python environment, on PATH, or
 * in the private environment that `install.ts` makes. Nothing here knows VS Code.
 */

import { join } from 'node:path';

export type Source = 'setting' | 'python' | 'path' | 'private';

/** A command that can be compared: the same one need not be started again. */
export interface ServerCommand {
  readonly source: Source;
  readonly command: string;
  readonly args: readonly string[];
}

export interface Places {
  /** The setting `nemodiff.server.command`; empty = not set. */
  readonly setting: readonly string[];
  /** The interpreter of the active environment. */
  readonly activePython: string | null;
  /** The folder of the private environment. */
  readonly privateFolder: string;
  /** A workspace that is not trusted can bring its own interpreter: it is not run then. */
  readonly isTrusted: boolean;
}

export interface Probe {
  /** Whether this Python has NemoDiff. */
  hasNemodiff(python: string): Promise<boolean>;
  /** The path of a program on PATH. */
  onPath(name: string): Promise<string | null>;
  exists(path: string): Promise<boolean>;
}

export const MISSING_SENTENCE = 'NemoDiff needs its language server, which is not installed yet.';

// -P: a folder of that name in the workspace must not be taken for the package.
const MODULE = ['-P', '-m'];

export function environmentPython(folder: string, platform: string = process.platform): string {
  return platform === 'win32'
    ? join(folder, 'Scripts', 'python.exe')
    : join(folder, 'bin', 'python');
}

/** The first place that has a server; null when none has. */
export async function findServer(places: Places, probe: Probe): Promise<ServerCommand | null> {
  const [command, ...args] = places.setting;
  if (command !== undefined && command !== '') {
    return { source: 'setting', command, args };
  }
  const { activePython } = places;
  if (places.isTrusted && activePython !== null && (await probe.hasNemodiff(activePython))) {
    return serverOf('python', activePython);
  }
  const program = await probe.onPath('nemodiff');
  if (program !== null) {
    return { source: 'path', command: program, args: ['lsp'] };
  }
  const own = environmentPython(places.privateFolder);
  if ((await probe.exists(own)) && (await probe.hasNemodiff(own))) {
    return serverOf('private', own);
  }
  return null;
}

function serverOf(source: Source, python: string): ServerCommand {
  return { source, command: python, args: [...MODULE, 'nemodiff_lsp'] };
}

/** The command of another tool of the same installation; null when the server's tells nothing. */
export function toolCommand(server: ServerCommand, tool: readonly string[]): string[] | null {
  const { command, args } = server;
  const module = args.indexOf('nemodiff_lsp');
  if (module > 0 && args[module - 1] === '-m') {
    return [command, ...args.slice(0, module), 'engine', ...tool];
  }
  const subcommand = args.indexOf('lsp');
  return subcommand < 0 ? null : [command, ...args.slice(0, subcommand), ...tool];
}

export function isSameServer(a: ServerCommand | null, b: ServerCommand | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Arguments of a Python that ends with 0 if it has NemoDiff, and says so quickly. */
export const PROBE_ARGS: readonly string[] = [
  '-P',
  '-c',
  "import importlib.util, sys; sys.exit(importlib.util.find_spec('nemodiff_lsp') is None)",
];
