// Keeps the server's subscriptions equal to ours: subscribes, unsubscribes, and renews on the next connection.

import { BATCH_BYTES_MAX, batches, wishHeaders } from "./batches.js";
import { splitNames } from "./channel.js";
import { headerPair } from "./headers.js";
import { endedBy, notAgain } from "./error.js";
import { closed } from "./exchange.js";
import { DEFAULT_COMMAND, cameOn } from "./message.js";
import { NO_WISH, numberOf } from "./place.js";
import { infoHeader } from "./presence.js";
import { Subscriptions } from "./subscriptions.js";
import { MESSAGE_TOO_BIG } from "./toobig.js";
import { deferred, within } from "./waiting.js";

/** @typedef {import("./subscriptions.js").Subscription} Subscription */
/** @typedef {import("./message.js").Message} Message */
/** @typedef {import("./error.js").LhttpError} LhttpError */

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[], answered?: (ack: Message) => void) =>
 *   Promise<unknown>} ask Calls `answered` before the next message of the server is read.
 * @property {(error: LhttpError) => void} failed
 * @property {(why: string) => void} drop
 * @property {(subscription: Subscription) => void} confirmed A subscription is live, perhaps again.
 */

export class Membership {
  #line;
  #subscriptions = new Subscriptions();
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Map<import("./room.js").Room, import("./waiting.js").Deferred<void>>} The rooms that callers wait for. */
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
    const { info } = subscription;
    const found = this.#subscriptions.find(subscription.name);
    if (found && found.status !== "leaving") {
      subscription = found;
      if (found.status === "wanted") found.info = info ?? found.info;
    } else {
      if (found) subscription.place.takeOver(found.place);
      this.#subscriptions.add(subscription);
    }
    const room = makeRoom(subscription);
    subscription.rooms.add(room);
    if (!subscription.isPattern) subscription.place.add(room, subscription.status === "live");
    try {
      const joined = this.#joined(subscription, room);
      const isShown = info === undefined || info === subscription.info;
      await within(isShown ? joined : joined.then(() => this.show(subscription, info, {})), limits);
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
    subscription.place.remove(room);
    this.#joining.delete(room);
    if (!wasIn || subscription.rooms.size > 0) return;
    this.#forbidden.delete(subscription);
    // One that the server has ended may still be live there; ending it twice does no harm.
    const isKnown = subscription.status !== "wanted" || subscription.wasLive;
    if (!isKnown || !this.#line.isUp()) return this.#subscriptions.remove(subscription);
    subscription.status = "leaving";
    await within(this.#unsubscribe(subscription), limits);
  }

  /**
   * Changes what others see beside the user. Resolves when the server knows, or when the connection is lost: it is told
   * with each message that subscribes.
   * @param {Subscription} subscription
   * @param {string} info
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async show(subscription, info, limits) {
    const { name, command, headers, status } = subscription;
    subscription.info = info;
    if ((status !== "live" && status !== "asked") || !this.#line.isUp()) return;
    const asking = this.#line.ask(command, [headerPair("subscribe", name), infoHeader(info), ...headers]);
    await within(asking.catch(unlessLost), limits);
  }

  /** @param {string} channel */
  findChannel(channel) {
    return this.#subscriptions.findChannel(channel);
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
    for (const subscription of this.#subscriptions.all()) this.#tell(subscription);
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
    await Promise.all(
      batches(wanted, (one) => this.#wishOf(one), this.#batchBytesMax).map((batch) => this.#subscribe(batch)),
    );
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
      this.#reject(subscription.rooms, closed());
      for (const room of subscription.rooms) room.end();
    }
  }

  /**
   * Gives a copy of a published message to the rooms that it is for.
   * @param {string | Uint8Array} data The message as it came.
   * @param {Message} message
   */
  deliver(data, message) {
    const number = numberOf(message);
    const channel = number && this.#subscriptions.findChannel(number.channel);
    // On a channel without a history it is a client that has written the number.
    const isNumbered = number && message.channels.includes(number.channel) && channel?.place.hasHistory !== false;
    if (isNumbered && channel?.place.isCatchingUp && !this.#subscriptions.expects(data)) {
      const isOverlapped = this.#subscriptions.patternsFor(channel.name).some(({ status }) => status !== "wanted");
      return channel.place.take(number.id, cameOn(message, channel.name), isOverlapped);
    }
    const copy = isNumbered
      ? this.#subscriptions.assignNumbered(data, number.channel)
      : this.#subscriptions.assign(data, message.channels);
    if (!copy) return;
    cameOn(message, copy.channel);
    if (isNumbered && copy.subscription === channel) return channel.place.take(number.id, message, false);
    if (isNumbered && channel && channel.status !== "live") channel.place.hear(number.id);
    for (const room of [...copy.subscription.rooms]) room.deliver(message);
  }

  /**
   * The server has numbered a message of ours that it does not send back.
   * @param {readonly string[]} channels
   * @param {readonly (string | undefined)[]} ids
   */
  hasPublished(channels, ids) {
    for (const [index, id] of ids.entries()) {
      if (id !== undefined) this.#subscriptions.findChannel(channels[index])?.place.hasPublished(id);
    }
  }

  /**
   * Resolves when the subscription is live, and the room has what it begins with.
   * @param {Subscription} subscription
   * @param {import("./room.js").Room} room
   * @returns {Promise<void>}
   */
  #joined(subscription, room) {
    const isLive = subscription.status === "live";
    if (isLive && !this.#isRejoining && !subscription.place.isNewcomer(room)) return Promise.resolve();
    // A caller may retry a subscription that was too big: one attempt for each call.
    subscription.isTooBig = false;
    const joining = deferred();
    this.#joining.set(room, joining);
    // A caller that gave up must not cause an unhandled rejection.
    joining.promise.catch(() => {});
    if (subscription.status === "wanted" && this.#line.isUp()) void this.#subscribe([subscription]);
    else this.#complete(subscription);
    return joining.promise;
  }

  /**
   * Asks again for a live subscription, if rooms wait for messages of before.
   * @param {Subscription} subscription
   */
  #complete(subscription) {
    if (subscription.status === "live" && subscription.place.isIncomplete) void this.#subscribe([subscription]);
  }

  /**
   * What a subscription asks for beside its name.
   * @param {Subscription} subscription
   */
  #wishOf({ isPattern, name, place, status }) {
    if (isPattern) return NO_WISH;
    return place.wish(status === "live", this.#subscriptions.patternsFor(name).length > 0);
  }

  /**
   * Never rejects: the callers of each subscription get its result.
   * @param {Subscription[]} batch All with the same command and headers.
   * @returns {Promise<void>}
   */
  async #subscribe(batch) {
    const epoch = this.#epoch;
    const [{ command, headers, info }] = batch;
    const wishes = batch.map((subscription) => this.#wishOf(subscription));
    const catchUps = batch.map((subscription, index) => {
      const isLive = subscription.status === "live";
      if (!isLive) subscription.status = "asked";
      return subscription.isPattern ? undefined : subscription.place.begin(wishes[index], isLive);
    });
    /** @type {LhttpError | undefined} */
    let refusal;
    try {
      const names = headerPair("subscribe", batch.map(({ name }) => name).join(" "));
      const shown = info === undefined ? [] : [infoHeader(info)];
      const all = [names, ...wishHeaders(wishes), ...shown, ...headers];
      await this.#line.ask(command, all, (ack) => this.#answered(batch, catchUps, ack));
    } catch (error) {
      refusal = /** @type {LhttpError} */ (error);
    }
    if (epoch !== this.#epoch) {
      if (refusal?.reason === MESSAGE_TOO_BIG) this.#tooBig(batch, refusal);
      return;
    }
    if (!refusal) return;
    for (const [index, subscription] of batch.entries()) {
      this.#giveToPatterns(subscription, subscription.place.end(catchUps[index], undefined));
    }
    // The server refuses a message whole. One by one, the other subscriptions still succeed.
    if (refusal.code > 0 && batch.length > 1) {
      const again = batch.filter(({ status }) => status === "asked");
      await Promise.all(again.map((subscription) => this.#subscribe([subscription])));
      return;
    }
    for (const subscription of batch) {
      // The subscription may have been given up in between; then its own answer will come.
      if (subscription.status === "asked") this.#refused(subscription, refusal);
      else if (subscription.status === "live") this.#notGiven(subscription, refusal);
    }
  }

  /**
   * The server has confirmed the subscriptions of a message.
   * @param {Subscription[]} batch
   * @param {(import("./place.js").CatchUp | undefined)[]} catchUps
   * @param {Message} ack
   */
  #answered(batch, catchUps, ack) {
    const positions = ack.header("position")?.split(" ") ?? [];
    const lost = splitNames(ack.header("lost") ?? "");
    for (const [index, subscription] of batch.entries()) {
      const id = positions[index];
      const answer = { position: id === "-" ? undefined : id, isLost: lost.includes(subscription.name) };
      this.#giveToPatterns(subscription, subscription.place.end(catchUps[index], answer));
      // The subscription may have been given up in between; then its own answer will come.
      if (subscription.status === "asked") this.#confirmed(subscription);
      this.#tell(subscription);
      this.#complete(subscription);
    }
  }

  /**
   * The patterns get their copies of messages that were held because they could not be told from the channel's.
   * @param {Subscription} subscription
   * @param {Message[]} messages
   */
  #giveToPatterns({ name }, messages) {
    for (const message of messages) {
      for (const { rooms, status } of this.#subscriptions.patternsFor(name)) {
        if (status !== "wanted") for (const room of [...rooms]) room.deliver(message);
      }
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
    subscription.roster.outdated();
    this.#subscriptions.settle(subscription);
  }

  /**
   * Lets the callers go on that wait for this subscription, if it is ready for them.
   * @param {Subscription} subscription
   */
  #tell(subscription) {
    if (subscription.status !== "live" || this.#isRejoining) return;
    for (const room of subscription.rooms) {
      if (subscription.place.isNewcomer(room)) continue;
      this.#joining.get(room)?.resolve();
      this.#joining.delete(room);
    }
    this.#line.confirmed(subscription);
  }

  /**
   * The callers that wait leave, each on its own. False if none waits.
   * @param {Iterable<import("./room.js").Room>} rooms
   * @param {LhttpError} error
   */
  #reject(rooms, error) {
    const waiting = [...rooms].map((room) => this.#joining.get(room));
    for (const room of rooms) this.#joining.delete(room);
    for (const joining of waiting) joining?.reject(error);
    return waiting.some((joining) => joining !== undefined);
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
    this.#reject(subscription.rooms, error);
    // Without an answer there is a connection without its subscriptions, which is of no use.
    if (error.code === 0 && subscription.wasLive) this.#line.drop("no answer to a subscription");
  }

  /**
   * The server does not give a live subscription the messages of before.
   * @param {Subscription} subscription
   * @param {LhttpError} error
   */
  #notGiven(subscription, error) {
    const areTold = this.#reject(subscription.place.giveUp(), error);
    if (!areTold) this.#line.failed(error);
    if (error.code === 0) this.#line.drop("no answer to a subscription");
  }

  /** @param {Subscription} subscription */
  async #unsubscribe(subscription) {
    try {
      const ended = () => this.#giveToPatterns(subscription, subscription.place.leave());
      const asking = this.#line.ask(DEFAULT_COMMAND, [headerPair("unsubscribe", subscription.name)], ended);
      // With the connection the subscription has ended, too.
      await asking.catch(unlessLost);
    } finally {
      this.#subscriptions.remove(subscription);
    }
  }
}

/**
 * Throws an error again, unless it is the end of the connection.
 * @param {LhttpError} error
 */
function unlessLost(error) {
  if (error.reason !== "connection-lost" && error.reason !== "closed") throw error;
}
