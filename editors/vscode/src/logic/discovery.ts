/**
 * Where the language server is: named by a setting, in the active Python environment, on PATH, or
 * in the private environment of `environments.ts`. Nothing here knows VS Code.
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
  /** The setting `nemodiff.server.command`, as it was written; empty = not set. */
  readonly setting: unknown;
  /** The interpreter of the active environment; asked for only where it matters. */
  readonly activePython: () => Promise<string | null>;
  /** The interpreter of the private environment, if there is a whole one. */
  readonly privatePython: () => Promise<string | null>;
  /** A workspace that is not trusted can bring its own interpreter: it is not run then. */
  readonly isTrusted: boolean;
}

export interface Probe {
  /** Whether this Python has NemoDiff. */
  hasNemodiff(python: string): Promise<boolean>;
  /** The path of a program on PATH. */
  onPath(name: string): Promise<string | null>;
}

/** A setting that cannot be used. */
export class SettingError extends Error {}

export const MISSING_SENTENCE = 'NemoDiff needs its language server, which is not installed yet.';

// -P: a folder of that name in the workspace must not be taken for the package.
const MODULE = ['-P', '-m'];

export function environmentPython(folder: string, platform: string = process.platform): string {
  return platform === 'win32'
    ? join(folder, 'Scripts', 'python.exe')
    : join(folder, 'bin', 'python');
}

/** The first place that has a server; null when none has. Throws SettingError. */
export async function findServer(places: Places, probe: Probe): Promise<ServerCommand | null> {
  const [command, ...args] = wordsOf(places.setting);
  if (command !== undefined && command !== '') {
    return { source: 'setting', command, args };
  }
  const active = places.isTrusted ? await places.activePython() : null;
  if (active !== null && (await probe.hasNemodiff(active))) {
    return serverOf('python', active);
  }
  const program = await probe.onPath('nemodiff');
  if (program !== null) {
    return { source: 'path', command: program, args: ['lsp'] };
  }
  const own = await places.privatePython();
  if (own !== null && (await probe.hasNemodiff(own))) {
    return serverOf('private', own);
  }
  return null;
}

function wordsOf(setting: unknown): readonly string[] {
  const words: unknown = setting ?? [];
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string')) {
    throw new SettingError(
      'The setting nemodiff.server.command must be a list of words, such as ["/path/to/nemodiff", "lsp"].',
    );
  }
  return words;
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
