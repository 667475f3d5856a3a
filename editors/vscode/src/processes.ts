/** Programs that the extension runs beside the server: probes, the installer, the statistics. */

import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { homedir } from 'node:os';
import { PROBE_ARGS, type Probe } from './logic/discovery.js';

const PROBE_MS = 20_000;

export interface Finished {
  readonly code: number;
  readonly lastLine: string;
}

/** Runs a program to its end; each line it writes goes to `onLine`. */
export function run(
  command: readonly string[],
  onLine: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Finished> {
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    // Not in the workspace: what lies there must not be taken for a module or a program.
    const child = spawn(program, args, {
      cwd: homedir(),
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      ...(signal === undefined ? {} : { signal }),
    });
    let lastLine = '';
    let rest = '';
    const take = (chunk: Buffer): void => {
      const lines = (rest + chunk.toString()).split(/\r?\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        lastLine = line.trim() === '' ? lastLine : line.trim();
        onLine(line);
      }
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', reject);
    child.on('close', (code) => {
      take(Buffer.from(rest === '' ? '' : '\n'));
      resolve({ code: code ?? -1, lastLine });
    });
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export const probe: Probe = {
  exists,
  async hasNemodiff(python) {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      return (await run([python, ...PROBE_ARGS], undefined, signal)).code === 0;
    } catch {
      return false;
    }
  },
  async onPath(name) {
    const endings = process.platform === 'win32' ? ['.exe', '.cmd'] : [''];
    // An editor that was started from the desktop often does not have the user's own folder on PATH.
    const folders = [
      ...(process.env['PATH'] ?? '').split(delimiter),
      join(homedir(), '.local', 'bin'),
    ];
    for (const folder of folders.filter(isAbsolute)) {
      for (const ending of endings) {
        const path = join(folder, name + ending);
        if (await exists(path)) {
          return path;
        }
      }
    }
    return null;
  },
};
