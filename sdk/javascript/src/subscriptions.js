// Decides which subscription gets which message.
//
// The server sends one copy of a message for each pair of a channel that it was published to and a subscription of ours
// that matches it. The copies bear no mark: they have the same bytes, and copies of other messages may come between
// them. So each copy is given to one such pair, in a fixed order: the first copy to the first pair, the next to the
// second. When all pairs have had theirs, the same bytes are a new message.
//
// A copy of a channel with a history is marked with the channel and a number. Old ones come again to a client that comes
// back: place.js.
//
// While a subscription is starting (sent, not acknowledged) or ending, the server may or may not send a copy for it.
// Such a pair comes last. Once the acknowledgement is there, no copy for it is expected any more, because the server
// sends the acknowledgement behind the last copy in question.

import { isPattern, matches } from "./channel.js";
import { Place } from "./place.js";
import { Roster } from "./roster.js";

/** Limits for messages with expected copies: their number, and their bytes or UTF-16 units. Past either, the oldest are given up. */
const INCOMPLETE_MESSAGES_MAX = 65_536;
const INCOMPLETE_SIZE_MAX = 16 * 1024 * 1024;
/** The most channels that are known to have a history. */
const NUMBERED_MAX = 10_000;

/** Our subscription to one name, shared by all rooms of that name. */
export class Subscription {
  /**
   * @param {string} name
   * @param {string} command The command of the message that subscribes.
   * @param {import("./headers.js").Header[]} headers Further headers of that message.
   * @param {boolean} [resumes] Whether missed messages are asked for.
   * @param {string} [info] What others see beside the user.
   */
  constructor(name, command, headers, resumes = true, info = undefined) {
    this.name = name;
    this.command = command;
    this.headers = headers;
    this.tokens = name.split(".");
    this.isPattern = isPattern(name);
    /** @type {Set<import("./room.js").Room>} */
    this.rooms = new Set();
    this.place = new Place(this.rooms, resumes);
    this.roster = new Roster(this.rooms);
    this.info = info;
    /**
     * The server's view of it on the current connection: unknown, because there is no connection or it was refused;
     * requested and not answered; confirmed; given up by the last room, and the end not confirmed.
     * @type {"wanted" | "asked" | "live" | "leaving"}
     */
    this.status = "wanted";
    /** Whether it was ever live: its rooms are in use, and no caller waits for an error. */
    this.wasLive = false;
    /** Whether a connection ended because the message that subscribes exceeds the server's limit. */
    this.isTooBig = false;
  }
}

/** @typedef {{ subscription: Subscription, channel: string }} Copy */
/** @typedef {{ certain: Copy[], uncertain: Copy[] }} Copies */

/** All subscriptions of a client. */
export class Subscriptions {
  /** @type {Map<string, Subscription>} */
  #exact = new Map();
  /** @type {Map<string, Subscription>} */
  #patterns = new Map();
  /**
   * Messages with further expected copies, by their bytes, the oldest first.
   * @type {Map<string, Copies>}
   */
  #incomplete = new Map();
  #incompleteSize = 0;
  /**
   * Channels of which a numbered copy came.
   * @type {Set<string>}
   */
  #numbered = new Set();

  /** @param {string} name */
  find(name) {
    return this.#exact.get(name) ?? this.#patterns.get(name);
  }

  /** @param {string} channel */
  findChannel(channel) {
    return this.#exact.get(channel);
  }

  /**
   * The patterns that match a channel.
   * @param {string} channel
   */
  patternsFor(channel) {
    const tokens = channel.split(".");
    return [...this.#patterns.values()].filter((pattern) => matches(pattern.tokens, tokens));
  }

  /**
   * Whether further copies of this message are expected.
   * @param {string | Uint8Array} data
   */
  expects(data) {
    return this.#incomplete.size > 0 && this.#incomplete.has(keyOf(data));
  }

  /** @returns {Subscription[]} */
  all() {
    return [...this.#exact.values(), ...this.#patterns.values()];
  }

  /**
   * Replaces one that is ending under the same name: for the server the two are one.
   * @param {Subscription} subscription
   */
  add(subscription) {
    (subscription.isPattern ? this.#patterns : this.#exact).set(subscription.name, subscription);
  }

  /** @param {Subscription} subscription */
  remove(subscription) {
    if (this.find(subscription.name) === subscription) {
      (subscription.isPattern ? this.#patterns : this.#exact).delete(subscription.name);
    }
    this.settle(subscription);
  }

  /**
   * The server has confirmed a change of this subscription: no uncertain copy is expected any more.
   * @param {Subscription} subscription
   */
  settle(subscription) {
    for (const [key, copies] of this.#incomplete) {
      copies.uncertain = copies.uncertain.filter((copy) => copy.subscription !== subscription);
      if (sizeOf(copies) === 0) this.#forget(key);
    }
  }

  /** The connection is gone, and with it the server's subscriptions and all expected copies. */
  disconnected() {
    this.#incomplete.clear();
    this.#incompleteSize = 0;
    this.#numbered.clear();
    for (const subscription of this.all()) {
      subscription.place.disconnected();
      if (subscription.status === "leaving") this.remove(subscription);
      subscription.status = "wanted";
    }
  }

  /**
   * The subscription and channel that get this copy of a message; undefined if there is none.
   * @param {string | Uint8Array} data The message as it came.
   * @param {readonly string[]} channels The channels that it was published to.
   * @returns {Copy | undefined}
   */
  assign(data, channels) {
    // The copies of channels with a history have other bytes.
    const others = channels.filter((channel) => !this.#isNumbered(channel));
    if (others.length < channels.length) {
      const copy = this.#assign(data, others);
      if (copy) return copy;
      // The rules of the server have changed.
      for (const channel of channels) this.#forgetHistory(channel);
    }
    return this.#assign(data, channels);
  }

  /**
   * The same for a copy that the server has numbered.
   * @param {string | Uint8Array} data
   * @param {string} channel The channel of this copy.
   */
  assignNumbered(data, channel) {
    this.#numbered.add(channel);
    if (this.#numbered.size > NUMBERED_MAX) this.#numbered.delete(this.#numbered.values().next().value ?? "");
    return this.#assign(data, [channel]);
  }

  /** @param {string} channel */
  #isNumbered(channel) {
    return this.#numbered.has(channel) || this.#exact.get(channel)?.place.hasHistory === true;
  }

  /** @param {string} channel */
  #forgetHistory(channel) {
    this.#numbered.delete(channel);
    const place = this.#exact.get(channel)?.place;
    if (place) place.hasHistory = false;
  }

  /**
   * @param {string | Uint8Array} data
   * @param {readonly string[]} channels
   * @returns {Copy | undefined}
   */
  #assign(data, channels) {
    const isAlone = this.#incomplete.size === 0;
    const expected = isAlone ? this.#expected(channels) : undefined;
    // Usually there is only one copy, and the message need not be remembered.
    if (expected && sizeOf(expected) < 2) return expected.certain[0] ?? expected.uncertain[0];
    const key = keyOf(data);
    const copies = expected ?? this.#incomplete.get(key) ?? this.#expected(channels);
    const copy = copies.certain.shift() ?? copies.uncertain.shift();
    if (sizeOf(copies) > 0) this.#remember(key, copies);
    else this.#forget(key);
    return copy;
  }

  /**
   * @param {readonly string[]} channels
   * @returns {Copies}
   */
  #expected(channels) {
    /** @type {Copies} */
    const copies = { certain: [], uncertain: [] };
    for (const channel of channels) {
      for (const subscription of this.#matching(channel)) {
        (subscription.status === "live" ? copies.certain : copies.uncertain).push({ subscription, channel });
      }
    }
    // A received copy more likely belongs to a wanted subscription than to one that is ending.
    const isLeaving = (/** @type {Copy} */ { subscription }) => Number(subscription.status === "leaving");
    copies.uncertain.sort((one, other) => isLeaving(one) - isLeaving(other));
    return copies;
  }

  /** @param {string} channel */
  *#matching(channel) {
    const exact = this.#exact.get(channel);
    if (exact) yield exact;
    yield* this.patternsFor(channel);
  }

  /**
   * @param {string} key
   * @param {Copies} copies
   */
  #remember(key, copies) {
    if (this.#incomplete.has(key)) return;
    this.#incomplete.set(key, copies);
    this.#incompleteSize += key.length;
    while (this.#incomplete.size > INCOMPLETE_MESSAGES_MAX || this.#incompleteSize > INCOMPLETE_SIZE_MAX) {
      this.#forget(/** @type {string} */ (this.#incomplete.keys().next().value));
    }
  }

  /** @param {string} key */
  #forget(key) {
    if (this.#incomplete.delete(key)) this.#incompleteSize -= key.length;
  }
}

/** @param {Copies} copies */
function sizeOf({ certain, uncertain }) {
  return certain.length + uncertain.length;
}

/**
 * Two messages have the same key if they have the same bytes and the same type of frame.
 * @param {string | Uint8Array} data
 */
function keyOf(data) {
  if (typeof data === "string") return data;
  // No text frame starts with U+0000: payloads that are not LHTTP never come here.
  let key = "\0";
  for (let at = 0; at < data.length; at += 8192) {
    key += String.fromCharCode(...data.subarray(at, at + 8192));
  }
  return key;
}
