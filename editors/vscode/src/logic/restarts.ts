/** How often and how soon a server that has ended by itself is started again. */

export const MAX_RESTARTS = 4;
const WINDOW_MS = 180_000;
const FIRST_MS = 250;

export class Restarts {
  #times: readonly number[] = [];

  /** Whether the server that runs, or is to run, was started because another one had ended. */
  get isUnderWay(): boolean {
    return this.#times.length > 0;
  }

  /** After how many milliseconds to start again; null = not any more. */
  next(nowMs: number): number | null {
    const recent = this.#times.filter((time) => nowMs - time < WINDOW_MS);
    if (recent.length >= MAX_RESTARTS) {
      return null;
    }
    this.#times = [...recent, nowMs];
    return FIRST_MS * 2 ** recent.length;
  }

  /** Somebody has asked for a start: what was before does not count. */
  forget(): void {
    this.#times = [];
  }
}
