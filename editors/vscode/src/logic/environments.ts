/**
 * The private environments on disk. One is made in a folder of its own and counts only from the
 * moment a file names it, so what an interrupted installation leaves is never taken for whole, and
 * the one before serves on when a new one fails. Nothing here knows VS Code.
 */

import { mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { environmentPython } from './discovery.js';
import { InstallError } from './install.js';

export const BUSY_SENTENCE = 'NemoDiff is being set up already, here or in another window.';

const LONGEST_MS = 2 * 3_600_000;

export class Environments {
  readonly #home: string;
  readonly #pointer: string;
  readonly #lock: string;

  /** storage: a folder of the extension's own; made when it is needed. */
  constructor(storage: string) {
    this.#home = join(storage, 'environments');
    this.#pointer = join(storage, 'environment.json');
    this.#lock = join(storage, 'environment.lock');
  }

  /** The interpreter of the whole environment; null when there is none. */
  async python(): Promise<string | null> {
    const name = await this.#current();
    return name === null ? null : environmentPython(join(this.#home, name));
  }

  /**
   * A folder for `make` to fill; it becomes the environment if `make` succeeds, and is removed if
   * not. Throws InstallError when another installation is under way.
   */
  async renew(make: (folder: string) => Promise<void>): Promise<void> {
    await mkdir(this.#home, { recursive: true });
    await this.#acquire();
    try {
      await this.#sweep();
      const name = Date.now().toString(36);
      const folder = join(this.#home, name);
      try {
        await make(folder);
        await this.#point(name);
      } catch (error) {
        await remove(folder);
        throw error;
      }
    } finally {
      await remove(this.#lock);
    }
  }

  async #current(): Promise<string | null> {
    try {
      const { name } = JSON.parse(await readFile(this.#pointer, 'utf-8')) as { name?: unknown };
      return typeof name === 'string' && name !== '' ? name : null;
    } catch {
      return null;
    }
  }

  async #point(name: string): Promise<void> {
    const written = `${this.#pointer}.new`;
    await writeFile(written, JSON.stringify({ name }));
    await rename(written, this.#pointer);
  }

  /** What is left of earlier ones; the current one may be in use. */
  async #sweep(): Promise<void> {
    const current = await this.#current();
    for (const name of await readdir(this.#home)) {
      if (name !== current) {
        await remove(join(this.#home, name));
      }
    }
  }

  async #acquire(): Promise<void> {
    if (await this.#isLocked()) {
      throw new InstallError(BUSY_SENTENCE);
    }
    await remove(this.#lock);
    // Of two that come this far, one finds the other's file.
    await this.#writeLock().catch(() => {
      throw new InstallError(BUSY_SENTENCE);
    });
  }

  async #isLocked(): Promise<boolean> {
    try {
      const { mtimeMs } = await stat(this.#lock);
      const pid = Number(await readFile(this.#lock, 'utf-8'));
      // By then the process of that number is another one.
      return Date.now() - mtimeMs < LONGEST_MS && isAlive(pid);
    } catch {
      return false;
    }
  }

  async #writeLock(): Promise<void> {
    const file = await open(this.#lock, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
  }
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) {
    return false;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
