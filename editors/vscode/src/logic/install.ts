/** The private environment: which commands make it, run one after another with progress. */

import { isAbsolute, join } from 'node:path';
import { environmentPython } from './discovery.js';

type Command = readonly string[];

export interface Step {
  readonly title: string;
  /** Ways to do it, each some commands; the next way is tried when a command of one fails. */
  readonly ways: readonly (readonly Command[])[];
}

/** What decides about the commands. */
export interface Machine {
  readonly platform: string;
  /** Whether there is an NVIDIA driver. */
  readonly hasGpu: boolean;
  /** The program uv, which also gets a Python where there is none; null = not here. */
  readonly uv: string | null;
  /** A Python that is new enough, as a command; null = not here. */
  readonly python: Command | null;
}

export interface Package {
  /** A requirement as pip knows it, or an absolute path. */
  readonly requirement: string;
  /** A file with the versions that it is tested with; null = none. */
  readonly constraints: string | null;
}

/** Runs a command; its exit code and the last line it wrote. Rejects when it cannot be started. */
export type Run = (command: Command) => Promise<{ code: number; lastLine: string }>;

export class InstallError extends Error {}

/** The version that NemoDiff is tested with: the one of the project's constraints.txt. */
export const TORCH = '2.13.0';
export const STOPPED_SENTENCE = 'The installation was stopped; nothing was changed.';
const NO_PYTHON =
  'NemoDiff needs Python 3.11 or newer with its venv module, or uv, and found neither on PATH.';

export const PYTHONS: readonly Command[] = [
  ['python3.13'],
  ['python3.12'],
  ['python3.11'],
  ['python3'],
  ['python'],
  ['py', '-3'],
];

// Some systems have venv without what it needs to make an environment with pip.
const VERSION_CHECK = ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'];

/** The first Python on PATH that is new enough; null when there is none. */
export async function findPython(run: Run): Promise<Command | null> {
  for (const candidate of PYTHONS) {
    try {
      const { code } = await run([...candidate, ...VERSION_CHECK]);
      if (code === 0) {
        return candidate;
      }
    } catch {
      // Not on this machine.
    }
  }
  return null;
}

/** What the setting `nemodiff.server.package` names. Throws InstallError for a path to nowhere. */
export async function packageOf(
  setting: string,
  home: string,
  exists: (path: string) => Promise<boolean>,
): Promise<Package> {
  const words = setting.trim();
  const requirement = /^~[/\\]/.test(words) ? join(home, words.slice(2)) : words;
  if (!isAbsolute(requirement)) {
    return { requirement, constraints: null };
  }
  if (!(await exists(requirement))) {
    throw new InstallError(
      `There is no ${requirement}: let the setting nemodiff.server.package name a clone.`,
    );
  }
  const constraints = join(requirement, 'constraints.txt');
  return { requirement, constraints: (await exists(constraints)) ? constraints : null };
}

/** The commands that fill `folder`. Throws InstallError when the machine has no Python. */
export function installSteps(machine: Machine, folder: string, wanted: Package): readonly Step[] {
  const own = environmentPython(folder, machine.platform);
  const pip = [own, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input'];
  // Named again, so that the resolver does not put another build in the place of the right one.
  const what = [wanted.requirement, `torch==${TORCH}`];
  const pinned = wanted.constraints === null ? [] : [[[...pip, '-c', wanted.constraints, ...what]]];
  const imports = 'import torch, tokenizers, engine, nemodiff_lsp';
  return [
    { title: 'making an environment', ways: environmentWays(machine, folder) },
    { title: 'getting PyTorch', ways: torchWays(machine, own, pip) },
    { title: 'installing NemoDiff', ways: [...pinned, [[...pip, ...what]]] },
    { title: 'trying it out', ways: [[[own, '-P', '-c', imports]]] },
  ];
}

function environmentWays({ python, uv }: Machine, folder: string): Step['ways'] {
  const byPython = python === null ? [] : [[[...python, '-m', 'venv', folder]]];
  // --seed: with pip.
  const byUv =
    uv === null ? [] : [[[uv, 'venv', '--clear', '--seed', '--python', '>=3.11', folder]]];
  if (byPython.length + byUv.length === 0) {
    throw new InstallError(NO_PYTHON);
  }
  return [...byPython, ...byUv];
}

/**
 * Left to the resolver, a Linux machine without a GPU would download gigabytes of CUDA packages:
 * there it is the CPU build or nothing. It is taken from wherever pip finds one; uv, which knows
 * the publisher's indices, is the second choice, and the first where there is a GPU.
 */
function torchWays({ platform, hasGpu }: Machine, own: string, pip: Command): Step['ways'] {
  const byUv = (backend: string): readonly Command[] => [
    [...pip, 'uv'],
    [own, '-m', 'uv', 'pip', 'install', '--python', own, '--torch-backend', backend].concat(
      `torch==${TORCH}`,
    ),
  ];
  const byPip = [[...pip, `torch==${TORCH}`]];
  if (hasGpu) {
    return [byUv('auto'), byPip];
  }
  // Elsewhere the usual build is the one without CUDA.
  return platform === 'linux' ? [[[...pip, `torch==${TORCH}+cpu`]], byUv('cpu')] : [byPip];
}

/** Runs the steps; stops at the first that fails, or when `isCancelled`. Throws InstallError. */
export async function install(
  steps: readonly Step[],
  run: Run,
  report: (title: string) => void,
  isCancelled: () => boolean,
): Promise<void> {
  for (const [index, { title, ways }] of steps.entries()) {
    report(`${title} (${index + 1} of ${steps.length})`);
    let why: string | null = '';
    for (const commands of ways) {
      why = await failureOf(commands, run, isCancelled);
      if (why === null) {
        break;
      }
    }
    if (why !== null) {
      throw new InstallError(`NemoDiff could not be installed (${title}): ${advice(why)}`);
    }
  }
}

/** Why one of the commands failed; null when none did. */
async function failureOf(
  commands: readonly Command[],
  run: Run,
  isCancelled: () => boolean,
): Promise<string | null> {
  for (const command of commands) {
    if (isCancelled()) {
      throw new InstallError(STOPPED_SENTENCE);
    }
    const { code, lastLine } = await run(command).catch((error: unknown) => ({
      code: -1,
      lastLine: String(error),
    }));
    if (isCancelled()) {
      throw new InstallError(STOPPED_SENTENCE);
    }
    if (code !== 0) {
      return lastLine === '' ? `${command[0] ?? ''} ended with code ${code}.` : lastLine;
    }
  }
  return null;
}

function advice(why: string): string {
  return /No matching distribution found for nemodiff\b/.test(why)
    ? 'no package of that name is to be had; let nemodiff.server.package name a clone.'
    : why;
}
