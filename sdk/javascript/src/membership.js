// Keeps the server's subscriptions equal to ours: subscribes, unsubscribes, and renews on the next connection.

import { BATCH_BYTES_MAX, batches } from "./batches.js";
import { headerPair } from "./headers.js";
import { LhttpError } from "./error.js";
import { closed } from "./exchange.js";
import { DEFAULT_COMMAND } from "./message.js";
import { Subscriptions } from "./subscriptions.js";
import { MESSAGE_TOO_BIG } from "./toobig.js";
import { deferred, within } from "./waiting.js";

/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[]) => Promise<unknown>} ask
 * @property {(error: LhttpError) => void} failed
 * @property {(why: string) => void} drop
 */

export class Membership {
  #line;
  #subscriptions = new Subscriptions();
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Map<Subscription, import("./waiting.js").Deferred<void>>} The subscriptions that callers wait for. */
  #joining = new Map();
  /** The most bytes of names that one message renews. Once such a message was too big, each name has its own. */
  #batchBytesMax = BATCH_BYTES_MAX;
  /**
   * What the server has ended since the last token was sent: the answer would be the same.
   * @type {Set<Subscription>}
   */
  #forbidden = new Set();
  /** Whether the connection is new and not usable yet. Until it is, no subscription is reported as live. */
  #isRejoining = false;

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * @param {Subscription} subscription Used if there is none of this name yet.
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
    // All callers that waited have left.
    this.#joining.delete(subscription);
    this.#forbidden.delete(subscription);
    // One that the server has ended may still be live there; ending it twice does no harm.
    const isKnown = subscription.status !== "wanted" || subscription.wasLive;
    if (!isKnown || !this.#line.isUp()) return this.#subscriptions.remove(subscription);
    subscription.status = "leaving";
    await within(this.#unsubscribe(subscription), limits);
  }

  /** Renews all subscriptions on a new connection. False if that connection was lost before the end. */
  async rejoin() {
    const epoch = this.#epoch;
    this.#isRejoining = true;
    await this.renewed();
    return epoch === this.#epoch;
  }

  /** The connection is usable: callers that wait for a live subscription continue. */
  rejoined() {
    this.#isRejoining = false;
    for (const subscription of [...this.#joining.keys()]) {
      if (subscription.status === "live") this.#tell(subscription);
    }
  }

  /** The token has run out: the server has ended subscriptions, perhaps all of them. */
  expired() {
    for (const subscription of this.#subscriptions.all()) {
      if (subscription.status === "live") subscription.status = "wanted";
    }
  }

  /**
   * The server has ended a subscription, because a new token or a changed rule does not allow it.
   * @param {string} name
   * @param {LhttpError} error
   */
  ended(name, error) {
    const subscription = this.#subscriptions.find(name);
    if (subscription?.status !== "live") return this.#line.failed(error);
    subscription.status = "wanted";
    this.#forbidden.add(subscription);
    this.#subscriptions.settle(subscription);
    this.#line.failed(endedBy(subscription, error));
  }

  /** A new token is about to be sent, which may allow more. */
  renewing() {
    this.#forbidden.clear();
  }

  /** The server has accepted another token: asks again for everything that is not live. */
  async renewed() {
    const isWanted = (/** @type {Subscription} */ subscription) =>
      subscription.status === "wanted" && !subscription.isTooBig && !this.#forbidden.has(subscription);
    const wanted = this.#subscriptions.all().filter(isWanted);
    await Promise.all(batches(wanted, this.#batchBytesMax).map((batch) => this.#subscribe(batch)));
  }

  /** The connection is gone. */
  lost() {
    this.#isRejoining = false;
    this.#forbidden.clear();
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
    // A caller may retry a subscription that was too big: one attempt for each call.
    subscription.isTooBig = false;
    let joining = this.#joining.get(subscription);
    if (!joining) {
      joining = deferred();
      this.#joining.set(subscription, joining);
      // A caller that gave up must not cause an unhandled rejection.
      joining.promise.catch(() => {});
    }
    if (subscription.status === "wanted" && this.#line.isUp()) void this.#subscribe([subscription]);
    return joining.promise;
  }

  /**
   * Never rejects: the callers of each subscription get its result.
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
    // The server refuses a message whole. One by one, the other subscriptions still succeed.
    if (refusal && refusal.code > 0 && batch.length > 1) {
      const asked = batch.filter(({ status }) => status === "asked");
      await Promise.all(asked.map((subscription) => this.#subscribe([subscription])));
      return;
    }
    for (const subscription of batch) {
      // The subscription may have been given up in between; then its own answer will come.
      if (subscription.status !== "asked") continue;
      if (refusal) this.#refused(subscription, refusal);
      else this.#confirmed(subscription);
    }
  }

  /**
   * The connection ended because of this message: it must not be sent in the same form on the next one.
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
    // The callers that wait leave, each on its own.
    this.#joining.get(subscription)?.reject(error);
    this.#joining.delete(subscription);
    // Without an answer there is a connection without its subscriptions, which is of no use.
    if (error.code === 0 && subscription.wasLive) this.#line.drop("no answer to a subscription");
  }

  /** @param {Subscription} subscription */
  async #unsubscribe(subscription) {
    try {
      await this.#line.ask(DEFAULT_COMMAND, [headerPair("unsubscribe", subscription.name)]);
    } catch (error) {
      const { reason } = /** @type {LhttpError} */ (error);
      // The subscription has ended with the connection.
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
 * @param {Subscription} subscription
 * @param {LhttpError} error
 */
function endedBy({ name }, error) {
  const sentence = `the server has ended the subscription to ${JSON.stringify(name)}: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}
