// Time limits that survive a program that stands still: a page that computes, a process that is stopped.
//
// Data that arrived while the event loop stood still waits in the socket, and a due timer may fire before the data is
// read. So a time limit is cut into two slices: a stall, however long, uses up one of them, and the loop has the other
// one to read.

/** The number of slices of a time limit. */
const SLICES = 2;

/** Late slices are not counted, but at most this many times: a loop that always lags still has time limits. */
const LATE_SLICES_MAX = 3;

/** A slice is late if it took half as long again, or this many milliseconds longer, whichever is more. */
const LATE_MIN = 50;

/** Milliseconds of a monotonic clock, if there is one. */
export function now() {
  return typeof performance === "undefined" ? Date.now() : performance.now();
}

/**
 * Calls `expired` after `time` milliseconds in which the event loop ran.
 * @param {number} time
 * @param {() => void} expired
 * @returns {() => void} Cancels it: `expired` is not called any more.
 */
export function deadline(time, expired) {
  const slice = time / SLICES;
  const lateAfter = slice + Math.max(LATE_MIN, slice / 2);
  let counted = 0;
  let late = 0;
  /** @type {() => void} */
  let cancel;
  const arm = () => {
    const start = now();
    const timer = setTimeout(() => {
      if (now() - start > lateAfter && late < LATE_SLICES_MAX) late += 1;
      else counted += 1;
      if (counted < SLICES) arm();
      else cancel = afterReading(expired);
    }, slice);
    cancel = () => clearTimeout(timer);
  };
  arm();
  return () => cancel();
}

/**
 * Calls `then` once the event loop has polled the sockets again. In Node only `setImmediate` guarantees that: timers
 * may follow each other without a poll between them.
 * @param {() => void} then
 * @returns {() => void} Cancels it.
 */
function afterReading(then) {
  const { setImmediate, clearImmediate } = /** @type {any} */ (globalThis);
  if (typeof setImmediate === "function") {
    const immediate = setImmediate(then);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(then);
  return () => clearTimeout(timer);
}
