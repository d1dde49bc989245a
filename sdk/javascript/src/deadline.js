// Time limits that a program which stands still does not break: a page that computes, a process that is stopped.
//
// What has arrived while the event loop stood still waits in the socket, and a timer that is due may fire before it. So a
// time limit is cut in two slices: a stall, however long, takes one of them, and the loop has the other to read.

/** How many slices of a time limit must pass. */
const SLICES = 2;

/** Slices that ended late are not counted, but for this many: a loop that always lags still has time limits. */
const LATE_SLICES_MAX = 3;

/** A slice ended late if it took half as long again, or this many milliseconds longer, whichever is more. */
const LATE_MIN = 50;

/** Milliseconds of a clock that nobody sets, where there is one. */
export function now() {
  return typeof performance === "undefined" ? Date.now() : performance.now();
}

/**
 * Calls `expired` when `time` is over: milliseconds in which the event loop ran.
 * @param {number} time
 * @param {() => void} expired
 * @returns {() => void} Ends it: `expired` is not called any more.
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
 * Calls `then` when the event loop has looked at the sockets once more. In Node only `setImmediate` says so: one timer may
 * follow another without a look in between.
 * @param {() => void} then
 * @returns {() => void} Ends it.
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
