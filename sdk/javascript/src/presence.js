// Who is in a channel (PROTOCOL.md §11): asks for the lists that rosters need.

import { Backoff } from "./backoff.js";
import { LhttpError, notPresent } from "./error.js";
import { headerPair } from "./headers.js";
import { utf8Length } from "./text.js";

/** The command of a message that asks. A processor of this command would receive it. */
export const PRESENCE_COMMAND = "lhttp-presence";
/** The commands of the server's messages: an answer, and a change. */
export const PRESENCE_ANSWER = "presence";
export const PRESENCE_CHANGE = "presence-change";

/** The longest information about a user, in bytes of UTF-8. */
const INFO_BYTES_MAX = 256;
/**
 * Where changes were not named, the list is asked for again after this time, in milliseconds, and up to as much again: all
 * clients of a large room are told the same at once.
 */
const AGAIN_AFTER = 5_000;
/** So many lists are asked for at once: a client that comes back may listen in many channels. */
const ASKED_MAX = 16;
/** Codes of errors that may be over soon: too many messages, a server that is busy, no answer in time. */
const PASSING = [429, 503, 0];

/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isOpen
 * @property {(name: string, answered: (answer: import("./message.js").Message) => void) => Promise<unknown>} ask Calls
 * `answered` before the next message of the server is read.
 * @property {(error: LhttpError) => void} failed
 */

/** Keeps the rosters current in which rooms have listeners. */
export class Watch {
  #line;
  #backoff;
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Set<Subscription>} Those whose lists are asked for as soon as others have come. */
  #waiting = new Set();
  #asked = 0;
  /** @type {Set<Subscription>} Those whose lists are asked for again after a while. */
  #failed = new Set();
  #stopTimer = () => {};
  /** @type {Set<Subscription>} Those whose lists may be made complete by another one, later. */
  #incomplete = new Set();
  #stopAgain = () => {};

  /**
   * @param {import("./options.js").Options} options
   * @param {Line} line
   */
  constructor(options, line) {
    this.#line = line;
    this.#backoff = new Backoff({ ...options.backoff, random: options.random });
  }

  /**
   * Asks for the list of a channel, if that is needed: a room has a new listener, or the server has confirmed the
   * subscription.
   * @param {Subscription} subscription
   */
  refresh(subscription) {
    const { roster } = subscription;
    if (!isNeeded(subscription) || roster.isAsked || this.#failed.has(subscription)) return;
    roster.isAsked = true;
    this.#waiting.add(subscription);
    this.#askNext();
  }

  /**
   * The server says who has come and gone.
   * @param {Subscription} subscription
   * @param {import("./message.js").Message} message
   */
  changed(subscription, message) {
    const { roster } = subscription;
    if (!roster.isWatched) return roster.forget();
    if (!roster.isCurrent) return this.refresh(subscription);
    try {
      roster.change(message);
    } catch (error) {
      this.#line.failed(notPresent(subscription, error));
    }
    if (roster.wouldBeComplete) this.#askAgain(subscription);
  }

  /** The connection is gone. */
  lost() {
    this.#epoch += 1;
    this.#waiting.clear();
    this.#failed.clear();
    this.#incomplete.clear();
    this.#asked = 0;
    this.#stopTimer();
    this.#stopAgain();
    this.#backoff.reset();
  }

  #askNext() {
    if (!this.#line.isOpen()) return;
    for (const subscription of this.#waiting) {
      if (this.#asked >= ASKED_MAX) return;
      this.#waiting.delete(subscription);
      if (isNeeded(subscription)) void this.#ask(subscription);
      else subscription.roster.isAsked = false;
    }
  }

  /** @param {Subscription} subscription */
  async #ask(subscription) {
    const { name, roster } = subscription;
    const epoch = this.#epoch;
    this.#asked += 1;
    /** @type {unknown} */
    let failure;
    try {
      await this.#line.ask(name, (answer) => roster.setList(readList(answer)));
    } catch (error) {
      failure = error;
    }
    if (epoch !== this.#epoch) return;
    this.#asked -= 1;
    if (failure) this.#notTold(subscription, failure);
    else this.#backoff.reset();
    this.#askNext();
  }

  /**
   * @param {Subscription} subscription
   * @param {unknown} failure
   */
  #notTold(subscription, failure) {
    const error = notPresent(subscription, failure);
    subscription.roster.isAsked = false;
    // The subscription has ended in between.
    if (subscription.status !== "live") return;
    this.#line.failed(error);
    if (!PASSING.includes(error.code)) return;
    if (this.#failed.size === 0) this.#retry(this.#backoff.next(true));
    this.#failed.add(subscription);
  }

  /** @param {Subscription} subscription */
  #askAgain(subscription) {
    this.#incomplete.add(subscription);
    if (this.#incomplete.size > 1) return;
    const timer = setTimeout(
      () => {
        const incomplete = [...this.#incomplete].filter(({ roster }) => roster.wouldBeComplete);
        this.#incomplete.clear();
        for (const subscription of incomplete) {
          subscription.roster.isDue = true;
          this.refresh(subscription);
        }
      },
      AGAIN_AFTER * (1 + this.#backoff.share()),
    );
    this.#stopAgain = () => clearTimeout(timer);
  }

  /** @param {number} wait */
  #retry(wait) {
    const timer = setTimeout(() => {
      const failed = [...this.#failed];
      this.#failed.clear();
      for (const subscription of failed) this.refresh(subscription);
    }, wait);
    this.#stopTimer = () => clearTimeout(timer);
  }
}

/** @param {Subscription} subscription */
function isNeeded({ roster, status }) {
  return status === "live" && roster.needsList && roster.isWatched;
}

/**
 * The list in the answer to a message that asks for it.
 * @param {import("./message.js").Message} answer
 * @returns {import("../index.d.ts").Present}
 */
export function readList(answer) {
  // A server that knows of nobody in any channel has taken the header for one of the caller's.
  if (answer.command !== PRESENCE_ANSWER) {
    throw new LhttpError(404, "no-presence", "nobody counts who is in this channel");
  }
  const [users, more] = [answer.json(), Number(answer.header("more") ?? 0)];
  return { users, more, total: users.length + more, isComplete: more === 0 };
}

/**
 * The header for what a client shows beside its user.
 * @param {string} info
 */
export function infoHeader(info) {
  if (typeof info !== "string") throw new TypeError(`info is a string, not ${String(info)}`);
  if (utf8Length(info) > INFO_BYTES_MAX) {
    throw new LhttpError(400, "bad-header", `presence-info has more than ${INFO_BYTES_MAX} bytes`);
  }
  return headerPair("presence-info", info);
}
