/** Programs that the extension runs beside the server: probes, the installer, the statistics. */

import { spawn, type ChildProcess } from 'node:child_process';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { homedir } from 'node:os';
import { PROBE_ARGS, type Probe } from './logic/discovery.js';

const PROBE_MS = 20_000;
const IS_WINDOWS = process.platform === 'win32';

export interface Finished {
  readonly code: number;
  readonly lastLine: string;
}

/**
 * Runs a program to its end; each line it writes goes to `onLine`. Aborted, it ends with the
 * processes that it has started, and the promise rejects when they are gone.
 */
export function run(
  command: readonly string[],
  onLine: (line: string) => void = () => undefined,
  signal?: AbortSignal,
): Promise<Finished> {
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortError());
      return;
    }
    // Not in the workspace: what lies there must not be taken for a module or a program.
    const child = spawn(program, args, {
      cwd: homedir(),
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      // A group of its own can be ended as a whole.
      detached: !IS_WINDOWS && signal !== undefined,
    });
    const end = (): void => {
      endTree(child);
    };
    signal?.addEventListener('abort', end, { once: true });
    const lines = new Lines(onLine);
    child.stdout.on('data', (chunk: Buffer) => {
      lines.take(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      lines.take(chunk);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      signal?.removeEventListener('abort', end);
      lines.end();
      if (signal?.aborted === true) {
        reject(abortError());
      } else {
        resolve({ code: code ?? -1, lastLine: lines.last });
      }
    });
  });
}

function abortError(): Error {
  return Object.assign(new Error('The program was stopped.'), { name: 'AbortError' });
}

/** What a program writes, as lines. */
class Lines {
  /** The last one that is not empty. */
  last = '';
  #rest = '';

  constructor(private readonly onLine: (line: string) => void) {}

  take(chunk: Buffer | string): void {
    const lines = (this.#rest + chunk.toString()).split(/\r?\n|\r/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      this.last = line.trim() === '' ? this.last : line.trim();
      this.onLine(line);
    }
  }

  end(): void {
    this.take(this.#rest === '' ? '' : '\n');
  }
}

function endTree(child: ChildProcess): void {
  if (child.pid === undefined) {
    return;
  }
  if (IS_WINDOWS) {
    spawn('taskkill', ['/pid', String(child.pid), '/t', '/f'], { windowsHide: true });
    return;
  }
  try {
    process.kill(-child.pid, 'SIGTERM');
  } catch {
    // It has ended meanwhile.
  }
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export const probe: Probe = {
  async hasNemodiff(python) {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      return (await run([python, ...PROBE_ARGS], undefined, signal)).code === 0;
    } catch {
      return false;
    }
  },
  async onPath(name) {
    const endings = IS_WINDOWS ? ['.exe', '.cmd'] : [''];
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
