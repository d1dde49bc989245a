// Messages that exceed a server's limit: it closes the connection with 1009, and would do so again.

import { LhttpError } from "./error.js";

/** The close code for a message that is too big (RFC 6455 §7.4.1). */
const TOO_BIG = 1009;

/** The word of an error for a message that is too big. */
export const MESSAGE_TOO_BIG = "message-too-big";

/**
 * @param {number} bytes
 * @param {number | undefined} bytesMax The limit, if it is known.
 */
export function tooBig(bytes, bytesMax) {
  const limit =
    bytesMax === undefined ? "the server has closed the connection for its size (1009)" : `more than ${bytesMax}`;
  return new LhttpError(413, MESSAGE_TOO_BIG, `a message of ${bytes} bytes, ${limit}`);
}

/**
 * The limit that the server names beside the code: a reason that is a number, or that names a number of bytes. If it
 * also names the message's size, that is the larger number.
 * @param {import("./connection.js").Loss} loss
 * @returns {number | undefined}
 */
export function toldLimit({ code, reason = "" }) {
  if (code !== TOO_BIG) return undefined;
  const numbers = /^\d+$/.test(reason) ? [reason] : (reason.match(/\d+(?= bytes)/g) ?? []);
  const limits = numbers.map(Number).filter((number) => number > 0 && number !== TOO_BIG);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

/**
 * The messages in flight that the connection ended for: all over the limit, if the server names it. Otherwise the
 * largest: if any was too big, it was. The others may be sent again; each time at least one fewer is left.
 * @template {{ bytes: number }} T
 * @param {import("./connection.js").Loss} loss How the connection ended.
 * @param {readonly T[]} unanswered
 * @param {number} unheardBytes The size of the largest message without an answer: perhaps that was too big.
 * @returns {Set<T> & { bytesMax?: number }}
 */
export function overLimit(loss, unanswered, unheardBytes) {
  if (loss.code !== TOO_BIG) return new Set();
  const bytesMax = toldLimit(loss);
  const largest = unanswered.reduce((most, { bytes }) => Math.max(most, bytes), unheardBytes);
  const isOver = (/** @type {T} */ { bytes }) => (bytesMax === undefined ? bytes === largest : bytes > bytesMax);
  return Object.assign(new Set(unanswered.filter(isOver)), { bytesMax });
}
