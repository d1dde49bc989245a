// Keeps the server's subscriptions in step with ours: joins, leaves, and joins again on the next connection.

import { headerPair } from "./headers.js";
import { LhttpError } from "./error.js";
import { closed } from "./exchange.js";
import { DEFAULT_COMMAND } from "./message.js";
import { Subscriptions } from "./subscriptions.js";
import { utf8Length } from "./text.js";
import { MESSAGE_TOO_BIG } from "./toobig.js";
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
  /** @type {Map<Subscription, import("./waiting.js").Deferred<void>>} Those whose confirmation is waited for. */
  #joining = new Map();
  /** How many bytes of names one message resubscribes; none beside another once such a message was too big. */
  #batchBytesMax = BATCH_BYTES_MAX;
  /** Whether the connection is new and not to be used yet: nobody is told of a subscription before. */
  #isRejoining = false;

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * @param {Subscription} subscription Taken if there is none of this name yet.
   * @param {(subscription: Subscription) => import("./room.js").Room} makeRoom
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async join(subscription, makeRoom, limits) {
    const found = this.#subscriptions.find(subscription.name);
    if (found && found.status !== "leaving") subscription = found;
    else this.#subscriptions.add(subscription);
    const room = makeRoom(subscription);
    subscription.rooms.add(room);
    try {
      await within(this.#joined(subscription), limits);
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
    // Whoever still waited has left.
    this.#joining.delete(subscription);
    const isKnown = subscription.status === "live" || subscription.status === "asked";
    if (!isKnown || !this.#line.isUp()) return this.#subscriptions.remove(subscription);
    subscription.status = "leaving";
    await within(this.#unsubscribe(subscription), limits);
  }

  /** Subscribes again to everything, on a new connection; false if that was lost meanwhile. */
  async rejoin() {
    const epoch = this.#epoch;
    this.#isRejoining = true;
    const wanted = this.#subscriptions.all().filter(({ status, isTooBig }) => status === "wanted" && !isTooBig);
    await Promise.all(batches(wanted, this.#batchBytesMax).map((batch) => this.#subscribe(batch)));
    return epoch === this.#epoch;
  }

  /** The connection may be used: those who wait for what is live now go on. */
  rejoined() {
    this.#isRejoining = false;
    for (const subscription of [...this.#joining.keys()]) {
      if (subscription.status === "live") this.#tell(subscription);
    }
  }

  /** The connection is gone. */
  lost() {
    this.#isRejoining = false;
    this.#epoch += 1;
    this.#subscriptions.disconnected();
  }

  close() {
    this.lost();
    for (const subscription of this.#subscriptions.all()) {
      this.#joining.get(subscription)?.reject(closed());
      this.#joining.delete(subscription);
      for (const room of subscription.rooms) room.end();
    }
  }

  /**
   * @param {string | Uint8Array} data
   * @param {readonly string[]} channels
   */
  assign(data, channels) {
    return this.#subscriptions.assign(data, channels);
  }

  /**
   * Resolves when the subscription is live.
   * @param {Subscription} subscription
   * @returns {Promise<void>}
   */
  #joined(subscription) {
    if (subscription.status === "live" && !this.#isRejoining) return Promise.resolve();
    // A caller may try again what was too big: it is one try for each call.
    subscription.isTooBig = false;
    let joining = this.#joining.get(subscription);
    if (!joining) {
      joining = deferred();
      this.#joining.set(subscription, joining);
      // Who gave up waiting is not to hear of it as an unhandled rejection.
      joining.promise.catch(() => {});
    }
    if (subscription.status === "wanted" && this.#line.isUp()) void this.#subscribe([subscription]);
    return joining.promise;
  }

  /**
   * Never rejects: each subscription's fate is told to those who wait for it.
   * @param {Subscription[]} batch All with the same command and headers.
   * @returns {Promise<void>}
   */
  async #subscribe(batch) {
    const epoch = this.#epoch;
    const [{ command, headers }] = batch;
    const names = batch.map(({ name }) => name).join(" ");
    for (const subscription of batch) subscription.status = "asked";
    /** @type {LhttpError | undefined} */
    let refusal;
    try {
      await this.#line.ask(command, [headerPair("subscribe", names), ...headers]);
    } catch (error) {
      refusal = /** @type {LhttpError} */ (error);
    }
    if (epoch !== this.#epoch) {
      if (refusal?.reason === MESSAGE_TOO_BIG) this.#tooBig(batch, refusal);
      return;
    }
    // A message is refused whole: one by one the others still go through.
    if (refusal && refusal.code > 0 && batch.length > 1) {
      const asked = batch.filter(({ status }) => status === "asked");
      await Promise.all(asked.map((subscription) => this.#subscribe([subscription])));
      return;
    }
    for (const subscription of batch) {
      // It may have been given up meanwhile; then its own answer is to come.
      if (subscription.status !== "asked") continue;
      if (refusal) this.#refused(subscription, refusal);
      else this.#confirmed(subscription);
    }
  }

  /**
   * The connection ended for this message: it must not go out like this on the next one.
   * @param {Subscription[]} batch
   * @param {LhttpError} refusal
   */
  #tooBig(batch, refusal) {
    if (batch.length > 1) {
      this.#batchBytesMax = 0;
      return;
    }
    const [subscription] = batch;
    subscription.isTooBig = true;
    this.#refused(subscription, refusal);
  }

  /** @param {Subscription} subscription */
  #confirmed(subscription) {
    subscription.status = "live";
    subscription.wasLive = true;
    this.#subscriptions.settle(subscription);
    if (!this.#isRejoining) this.#tell(subscription);
  }

  /** @param {Subscription} subscription */
  #tell(subscription) {
    this.#joining.get(subscription)?.resolve();
    this.#joining.delete(subscription);
  }

  /**
   * @param {Subscription} subscription
   * @param {LhttpError} error
   */
  #refused(subscription, error) {
    if (error.code > 0) {
      subscription.status = "wanted";
      this.#subscriptions.settle(subscription);
      if (subscription.wasLive) this.#line.failed(notAgain(subscription, error));
      else this.#subscriptions.remove(subscription);
    }
    // Those who wait leave, each on its own.
    this.#joining.get(subscription)?.reject(error);
    this.#joining.delete(subscription);
    // No answer: a connection without its subscriptions is no good.
    if (error.code === 0 && subscription.wasLive) this.#line.drop("no answer to a subscription");
  }

  /** @param {Subscription} subscription */
  async #unsubscribe(subscription) {
    try {
      await this.#line.ask(DEFAULT_COMMAND, [headerPair("unsubscribe", subscription.name)]);
    } catch (error) {
      const { reason } = /** @type {LhttpError} */ (error);
      // With the connection the subscription has gone too.
      if (reason !== "connection-lost" && reason !== "closed") throw error;
    } finally {
      this.#subscriptions.remove(subscription);
    }
  }
}

/**
 * @param {Subscription} subscription
 * @param {LhttpError} error
 */
function notAgain({ name }, error) {
  const sentence = `${JSON.stringify(name)} could not be subscribed to again: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}

/**
 * Subscriptions that one message can ask for.
 * @param {readonly Subscription[]} subscriptions
 * @param {number} bytesMax
 */
function batches(subscriptions, bytesMax) {
  /** @type {Map<string, { batch: Subscription[], bytes: number }>} The batch that is being filled, by what they share. */
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
