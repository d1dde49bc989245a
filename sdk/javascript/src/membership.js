// Keeps the server's subscriptions in step with ours: joins, leaves, and joins again on the next connection.

import { headerPair } from "./headers.js";
import { LhttpError } from "./error.js";
import { closed } from "./exchange.js";
import { DEFAULT_COMMAND } from "./message.js";
import { Subscriptions } from "./subscriptions.js";
import { utf8Length } from "./text.js";
import { deferred, within } from "./waiting.js";

/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/** How many bytes of names one message resubscribes, well below the smallest head that a server may allow. */
const BATCH_BYTES_MAX = 2048;

/**
 * @typedef {object} Line What connects this to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[]) => Promise<void>} ask
 * @property {(error: LhttpError) => void} failed
 * @property {(why: string) => void} drop
 */

export class Membership {
  #line;
  #subscriptions = new Subscriptions();
  /** Counts connections, so that an answer from an old one is known. */
  #epoch = 0;
  /** @type {WeakMap<Subscription, import("./waiting.js").Deferred<void>>} Those whose first answer is waited for. */
  #joining = new WeakMap();

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * @param {string} name
   * @param {(subscription: Subscription) => import("./room.js").Room} makeRoom
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async join(name, makeRoom, limits) {
    const found = this.#subscriptions.find(name);
    const isNew = !found || found.isLeaving;
    const subscription = isNew ? this.#subscriptions.add(name) : found;
    const room = makeRoom(subscription);
    subscription.rooms.add(room);
    if (isNew) {
      const joining = deferred();
      // Who gave up waiting is not to hear of it as an unhandled rejection.
      joining.promise.catch(() => {});
      this.#joining.set(subscription, joining);
      if (this.#line.isUp()) void this.#subscribe([subscription]);
    }
    try {
      await within(this.#joining.get(subscription)?.promise ?? Promise.resolve(), limits);
    } catch (error) {
      room.unsubscribe().catch(() => {});
      throw error;
    }
    return room;
  }

  /**
   * @param {import("./room.js").Room} room
   * @param {Subscription} subscription
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async leave(room, subscription, limits) {
    const wasIn = subscription.rooms.delete(room);
    if (!wasIn || subscription.rooms.size > 0) return;
    if (this.#subscriptions.find(subscription.name) !== subscription) return;
    if (!this.#line.isUp()) return this.#subscriptions.remove(subscription);
    subscription.isLeaving = true;
    const done = this.#line.ask(DEFAULT_COMMAND, [headerPair("unsubscribe", subscription.name)]).then(
      () => this.#subscriptions.remove(subscription),
      (error) => {
        this.#subscriptions.remove(subscription);
        // With the connection the subscription has gone too.
        if (error.reason !== "connection-lost" && error.reason !== "closed") throw error;
      },
    );
    done.catch(() => {});
    await within(done, limits);
  }

  /** Subscribes again to everything, on a new connection; false if that was lost meanwhile. */
  async rejoin() {
    const epoch = this.#epoch;
    const wanted = this.#subscriptions.all();
    await Promise.all(batches(wanted).map((batch) => this.#subscribe(batch)));
    return epoch === this.#epoch;
  }

  /** The connection is gone. */
  lost() {
    this.#epoch += 1;
    this.#subscriptions.disconnected();
  }

  close() {
    this.lost();
    for (const subscription of this.#subscriptions.all()) this.#joining.get(subscription)?.reject(closed());
  }

  /**
   * @param {string | Uint8Array} data
   * @param {readonly string[]} channels
   */
  assign(data, channels) {
    return this.#subscriptions.assign(data, channels);
  }

  /**
   * Never rejects: each subscription's fate is told to those who wait for it.
   * @param {Subscription[]} batch
   * @returns {Promise<void>}
   */
  async #subscribe(batch) {
    const epoch = this.#epoch;
    try {
      await this.#line.ask(DEFAULT_COMMAND, [headerPair("subscribe", batch.map(({ name }) => name).join(" "))]);
    } catch (error) {
      if (epoch !== this.#epoch) return;
      // A message is refused whole: one by one the others still go through.
      if (batch.length > 1 && error.code > 0) {
        await Promise.all(batch.map((subscription) => this.#subscribe([subscription])));
        return;
      }
      return this.#refused(batch, error);
    }
    if (epoch !== this.#epoch) return;
    for (const subscription of batch) {
      subscription.isLive = true;
      this.#subscriptions.settle(subscription);
      this.#joining.get(subscription)?.resolve();
      this.#joining.delete(subscription);
    }
  }

  /**
   * @param {Subscription[]} batch
   * @param {LhttpError} error
   */
  #refused(batch, error) {
    for (const subscription of batch) {
      const joining = this.#joining.get(subscription);
      if (joining) {
        // Those who wait leave, each on its own.
        this.#joining.delete(subscription);
        if (error.code > 0) this.#subscriptions.remove(subscription);
        joining.reject(error);
      } else if (error.code > 0) {
        const { name } = subscription;
        const sentence = `${JSON.stringify(name)} could not be subscribed to again: ${error.message}`;
        this.#line.failed(new LhttpError(error.code, error.reason, sentence, { cause: error }));
      } else {
        // No answer: without its subscriptions a connection is no good.
        this.#line.drop("no answer to a subscription");
        return;
      }
    }
  }
}

/** @param {readonly Subscription[]} subscriptions */
function batches(subscriptions) {
  /** @type {Subscription[][]} */
  const all = [];
  let bytes = Infinity;
  for (const subscription of subscriptions) {
    const length = utf8Length(subscription.name) + 1;
    if (bytes + length > BATCH_BYTES_MAX) {
      all.push([]);
      bytes = 0;
    }
    all[all.length - 1].push(subscription);
    bytes += length;
  }
  return all;
}
