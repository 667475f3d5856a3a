/** The private environment: which commands make it, run one after another with progress. */

import { environmentPython } from './discovery.js';

export interface Step {
  readonly title: string;
  readonly command: readonly string[];
  /** Tried when the command fails. */
  readonly otherwise?: readonly string[];
}

/** Runs a command; its exit code and the last line it wrote. Rejects when it cannot be started. */
export type Run = (command: readonly string[]) => Promise<{ code: number; lastLine: string }>;

export class InstallError extends Error {}

export const PYTHONS: readonly (readonly string[])[] = [
  ['python3.13'],
  ['python3.12'],
  ['python3.11'],
  ['python3'],
  ['python'],
  ['py', '-3'],
];

const VERSION_CHECK = ['-c', 'import sys, venv; sys.exit(sys.version_info < (3, 11))'];

/** The first Python that is new enough; `preferred` is asked before those on PATH. */
export async function findPython(run: Run, preferred: string | null): Promise<readonly string[]> {
  const candidates = preferred === null ? PYTHONS : [[preferred], ...PYTHONS];
  for (const candidate of candidates) {
    try {
      const { code } = await run([...candidate, ...VERSION_CHECK]);
      if (code === 0) {
        return candidate;
      }
    } catch {
      // Not on this machine.
    }
  }
  throw new InstallError('NemoDiff needs Python 3.11 or newer, which was not found on PATH.');
}

/**
 * uv chooses the build of torch that fits the machine; pip, which may be set up for a registry that
 * uv does not know, is the second choice.
 */
export function installSteps(
  python: readonly string[],
  folder: string,
  requirement: string,
): readonly Step[] {
  const own = environmentPython(folder);
  const pip = [own, '-m', 'pip', 'install', '--disable-pip-version-check'];
  return [
    { title: 'making an environment', command: [...python, '-m', 'venv', '--clear', folder] },
    { title: 'getting the installer', command: [...pip, 'uv'] },
    {
      title: 'installing NemoDiff',
      command: [
        ...[own, '-m', 'uv', 'pip', 'install', '--python', own],
        ...['--torch-backend', 'auto', requirement],
      ],
      otherwise: [...pip, requirement],
    },
  ];
}

/** Runs the steps; stops at the first that fails, or when `isCancelled`. Throws InstallError. */
export async function install(
  steps: readonly Step[],
  run: Run,
  report: (title: string) => void,
  isCancelled: () => boolean,
): Promise<void> {
  for (const step of steps) {
    if (isCancelled()) {
      throw new InstallError('The installation was stopped.');
    }
    report(step.title);
    let result = await run(step.command);
    if (result.code !== 0 && step.otherwise !== undefined && !isCancelled()) {
      result = await run(step.otherwise);
    }
    if (result.code !== 0) {
      const why = result.lastLine === '' ? `code ${result.code}` : result.lastLine;
      throw new InstallError(`NemoDiff could not be installed (${step.title}): ${why}`);
    }
  }
}
