import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_RESTARTS, Restarts } from '../src/logic/restarts.js';

const MINUTE_MS = 60_000;

test('each restart waits longer than the one before, and some are enough', () => {
  const restarts = new Restarts();
  const delays = Array.from({ length: MAX_RESTARTS }, (_, index) => restarts.next(index));
  assert.deepEqual(delays, [250, 500, 1000, 2000]);
  assert.equal(restarts.next(MAX_RESTARTS), null);
});

test('what is long past does not count', () => {
  const restarts = new Restarts();
  for (let index = 0; index < MAX_RESTARTS; index++) {
    restarts.next(index);
  }
  assert.equal(restarts.next(4 * MINUTE_MS), 250);
});

test('a start that somebody asked for begins anew', () => {
  const restarts = new Restarts();
  restarts.next(0);
  assert.ok(restarts.isUnderWay);
  restarts.forget();
  assert.ok(!restarts.isUnderWay);
  assert.equal(restarts.next(1), 250);
});
