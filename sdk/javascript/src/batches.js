// Which subscriptions share a message.

import { utf8Length } from "./text.js";

/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/** The most bytes of names that one message renews, well below the smallest head that a server may allow. */
export const BATCH_BYTES_MAX = 2048;

/**
 * Groups subscriptions into messages. All of a message share the command and the headers, and have at most `bytesMax`
 * bytes of names.
 * @param {readonly Subscription[]} subscriptions
 * @param {number} bytesMax
 */
export function batches(subscriptions, bytesMax) {
  /** @type {Map<string, { batch: Subscription[], bytes: number }>} The batch that is being filled, by command and headers. */
  const open = new Map();
  /** @type {Subscription[][]} */
  const all = [];
  for (const subscription of subscriptions) {
    const shared = JSON.stringify([subscription.command, subscription.headers]);
    const bytes = utf8Length(subscription.name) + 1;
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
