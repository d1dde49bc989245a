// Promises that can be settled from outside.

import { deadline } from "./deadline.js";
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
 * Throws if a caller's limits are invalid: before anything is done, whether or not the limits would matter.
 * @param {{ timeout?: number }} limits
 */
export function checkLimits({ timeout }) {
  time("timeout", timeout, 0);
}

/**
 * Throws if the caller has given up already.
 * @param {{ signal?: AbortSignal }} limits
 */
export function checkAborted({ signal }) {
  if (signal?.aborted) throw reasonOf(signal);
}

/**
 * Why a signal has aborted; old ones do not say.
 * @param {AbortSignal} signal
 * @returns {unknown}
 */
function reasonOf({ reason }) {
  if (reason !== undefined) return reason;
  const sentence = "the operation was aborted";
  if (typeof DOMException === "function") return new DOMException(sentence, "AbortError");
  return Object.assign(new Error(sentence), { name: "AbortError" });
}

/**
 * Calls `ended` with the reason when `signal` aborts or after `timeout` milliseconds, whichever is first. Calling the
 * returned function cancels that.
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @param {(error: unknown) => void} ended
 * @returns {() => void}
 */
export function limit({ signal, timeout }, ended) {
  const abort = () => end(reasonOf(/** @type {AbortSignal} */ (signal)));
  const stopTimer =
    timeout === undefined
      ? () => {}
      : deadline(timeout, () => end(new LhttpError(0, "timeout", `not done within ${timeout} ms`)));
  const stop = () => {
    stopTimer();
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
 * The result of `promise`, unless a limit comes first.
 * @template T
 * @param {Promise<T>} promise
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @returns {Promise<T>}
 */
export function within(promise, limits) {
  const { signal, timeout } = limits;
  if (signal === undefined && timeout === undefined) return promise;
  if (signal?.aborted) return Promise.reject(reasonOf(signal));
  return new Promise((resolve, reject) => {
    const stop = limit(limits, reject);
    promise.then(resolve, reject).finally(stop);
  });
}
