// Which subscriptions share a message, and what it asks for.

import { headerPair } from "./headers.js";
import { utf8Length } from "./text.js";

/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/** The most bytes of names and ids that one message renews, well below the smallest head that a server may allow. */
export const BATCH_BYTES_MAX = 2048;

/**
 * The headers for what the subscriptions of a message ask for, in the order of their names.
 * @param {readonly import("./place.js").Wish[]} wishes All with the same `last`.
 */
export function wishHeaders(wishes) {
  const [{ last }] = wishes;
  const headers = [];
  // A server without a history never gave an id, and so gets no header.
  if (wishes.some(({ since }) => since !== undefined)) {
    headers.push(headerPair("since", wishes.map(({ since }) => since ?? "-").join(" ")));
  }
  if (last > 0) headers.push(headerPair("last", last));
  return headers;
}

/**
 * Groups subscriptions into messages. All of a message share the command, the headers, `last` and what others see beside
 * the user, and have at most `bytesMax` bytes of names and ids.
 * @param {readonly Subscription[]} subscriptions
 * @param {(subscription: Subscription) => import("./place.js").Wish} wishOf
 * @param {number} bytesMax
 */
export function batches(subscriptions, wishOf, bytesMax) {
  /** @type {Map<string, { batch: Subscription[], bytes: number }>} The batch that is being filled, by command and headers. */
  const open = new Map();
  /** @type {Subscription[][]} */
  const all = [];
  for (const subscription of subscriptions) {
    const { since, last } = wishOf(subscription);
    const shared = JSON.stringify([subscription.command, subscription.headers, last, subscription.info]);
    const bytes = utf8Length(subscription.name) + 1 + (since === undefined ? 2 : since.length + 1);
    let current = open.get(shared);
    if (!current || current.bytes + bytes > bytesMax) {
      current = { batch: [], bytes: 0 };
      open.set(shared, current);
      all.push(current.batch);
    }
    current.batch.push(subscription);
    current.bytes += bytes;
  }
  return all;
}
