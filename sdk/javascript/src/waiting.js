// Promises that can be ended from outside.

import { LhttpError } from "./error.js";
import { time } from "./options.js";

/**
 * @template T
 * @typedef {{ promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void }} Deferred
 */

/**
 * @template T
 * @returns {Deferred<T>}
 */
export function deferred() {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

/**
 * Throws if a caller's limits are none: before anything is done, whether it would come to them or not.
 * @param {{ timeout?: number }} limits
 */
export function checkLimits({ timeout }) {
  time("timeout", timeout, 0);
}

/**
 * Calls `ended` with the reason when `signal` aborts or `timeout` milliseconds are over, whichever is first; not any
 * more once the function that this returns was called.
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @param {(error: unknown) => void} ended
 * @returns {() => void}
 */
export function limit({ signal, timeout }, ended) {
  const abort = () => end(signal?.reason);
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(() => end(new LhttpError(0, "timeout", `not done within ${timeout} ms`)), timeout);
  const stop = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  };
  /** @param {unknown} error */
  const end = (error) => {
    stop();
    ended(error);
  };
  signal?.addEventListener("abort", abort);
  return stop;
}

/**
 * What `promise` gives, unless a limit comes first.
 * @template T
 * @param {Promise<T>} promise
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @returns {Promise<T>}
 */
export function within(promise, limits) {
  if (limits.signal === undefined && limits.timeout === undefined) return promise;
  if (limits.signal?.aborted) return Promise.reject(limits.signal.reason);
  return new Promise((resolve, reject) => {
    const stop = limit(limits, reject);
    promise.then(resolve, reject).finally(stop);
  });
}
