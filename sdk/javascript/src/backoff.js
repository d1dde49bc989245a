import { throwLater } from "./emitter.js";

/** Past so many the wait is at its most, whatever that is. */
const DOUBLINGS_MAX = 40;

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

  /**
   * The next wait, in milliseconds.
   * @param {boolean} [wasRefused] The server will do the same again: the wait is not below half of what it may be.
   */
  next(wasRefused = false) {
    const ceiling = Math.min(this.max, this.initial * 2 ** Math.min(this.attempts, DOUBLINGS_MAX));
    this.attempts += 1;
    const share = this.#share();
    return Math.round(ceiling * (wasRefused ? (1 + share) / 2 : share));
  }

  reset() {
    this.attempts = 0;
  }

  /** The caller's random number; one of ours if theirs throws or is none, for the next try must come. */
  #share() {
    try {
      const share = this.random();
      if (share >= 0 && share <= 1) return share;
      throwLater(new TypeError(`random is to give a number from 0 to 1, not ${String(share)}`));
    } catch (error) {
      throwLater(error);
    }
    return Math.random();
  }
}
