/**
 * Exponential back-off with full jitter: the n-th wait is anything between 0 and `initial * 2^n`, at most `max`. Clients
 * that lost the same server at the same moment so come back spread over the whole time, not all at once.
 */
export class Backoff {
  /**
   * @param {{ initial: number, max: number, random: () => number }} options Milliseconds.
   */
  constructor({ initial, max, random }) {
    this.initial = initial;
    this.max = max;
    this.random = random;
    /** How many waits there were since the last reset. */
    this.attempts = 0;
  }

  /** The next wait, in milliseconds. */
  next() {
    const ceiling = Math.min(this.max, this.initial * 2 ** this.attempts);
    this.attempts += 1;
    return Math.round(this.random() * ceiling);
  }

  reset() {
    this.attempts = 0;
  }
}
