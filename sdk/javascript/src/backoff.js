import { throwLater } from "./emitter.js";

/** Past this many attempts the wait has its maximum, whatever that is. */
const DOUBLINGS_MAX = 40;

/**
 * Exponential back-off with full jitter: the n-th wait is any time between 0 and `initial * 2^n`, at most `max`. So the
 * clients that lost a server at the same moment come back spread over the whole time.
 */
export class Backoff {
  /**
   * @param {{ initial: number, max: number, random: () => number }} options Milliseconds.
   */
  constructor({ initial, max, random }) {
    this.initial = initial;
    this.max = max;
    this.random = random;
    /** The number of waits since the last reset. */
    this.attempts = 0;
  }

  /**
   * The next wait, in milliseconds.
   * @param {boolean} [wasRefused] The server will refuse again: the wait is at least half of its maximum.
   */
  next(wasRefused = false) {
    const ceiling = Math.min(this.max, this.initial * 2 ** Math.min(this.attempts, DOUBLINGS_MAX));
    this.attempts += 1;
    const share = this.share();
    return Math.round(ceiling * (wasRefused ? (1 + share) / 2 : share));
  }

  reset() {
    this.attempts = 0;
  }

  /** The caller's random number; our own if theirs throws or is invalid, because the next attempt must come. */
  share() {
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
