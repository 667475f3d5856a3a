import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { BUSY_SENTENCE, Environments } from '../src/logic/environments.js';
import { STOPPED_SENTENCE, InstallError } from '../src/logic/install.js';

async function inStorage(check: (storage: string) => Promise<void>): Promise<void> {
  const storage = await mkdtemp(join(tmpdir(), 'nemodiff-'));
  try {
    await check(storage);
  } finally {
    await rm(storage, { recursive: true });
  }
}

async function fill(folder: string): Promise<void> {
  await mkdir(folder);
  await writeFile(join(folder, 'made'), '');
}

async function failHalfway(folder: string): Promise<void> {
  await fill(folder);
  throw new InstallError(STOPPED_SENTENCE);
}

const made = (python: string | null): boolean =>
  python !== null && existsSync(join(dirname(dirname(python)), 'made'));

test('an environment counts when it is whole', () =>
  inStorage(async (storage) => {
    const environments = new Environments(storage);
    assert.equal(await environments.python(), null);
    await environments.renew(async (folder) => {
      await fill(folder);
      assert.equal(await environments.python(), null);
    });
    assert.ok(made(await environments.python()));
  }));

test('what was stopped is gone, and the one before serves on', () =>
  inStorage(async (storage) => {
    const environments = new Environments(storage);
    await assert.rejects(environments.renew(failHalfway), /was stopped/);
    assert.equal(await environments.python(), null);
    assert.deepEqual(await readdir(join(storage, 'environments')), []);
    await environments.renew(fill);
    const before = await environments.python();
    await assert.rejects(environments.renew(failHalfway), /was stopped/);
    assert.equal(await environments.python(), before);
    assert.ok(made(before));
  }));

test('what a killed editor has left is no environment, and removed by the next set-up', () =>
  inStorage(async (storage) => {
    const half = join(storage, 'environments', 'half');
    await mkdir(half, { recursive: true });
    await writeFile(join(storage, 'environment.lock'), '999999999');
    const environments = new Environments(storage);
    assert.equal(await environments.python(), null);
    await environments.renew(fill);
    assert.ok(!existsSync(half));
    assert.ok(made(await environments.python()));
  }));

test('a second set-up at the same time is refused and harms nothing', () =>
  inStorage(async (storage) => {
    const environments = new Environments(storage);
    await environments.renew(async (folder) => {
      await fill(folder);
      await assert.rejects(new Environments(storage).renew(fill), { message: BUSY_SENTENCE });
      assert.ok(existsSync(folder));
    });
    assert.ok(made(await environments.python()));
    await environments.renew(fill);
  }));

test('a lock of yesterday binds nobody, though its process number is in use again', () =>
  inStorage(async (storage) => {
    const lock = join(storage, 'environment.lock');
    await writeFile(lock, String(process.pid));
    const yesterday = new Date(Date.now() - 24 * 3_600_000);
    await utimes(lock, yesterday, yesterday);
    await new Environments(storage).renew(fill);
    assert.ok(made(await new Environments(storage).python()));
  }));

test('a file that cannot be read names none', () =>
  inStorage(async (storage) => {
    await writeFile(join(storage, 'environment.json'), '{"name": 3');
    assert.equal(await new Environments(storage).python(), null);
  }));
