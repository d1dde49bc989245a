import { LhttpError } from "./error.js";
import { checkLimits, deferred } from "./waiting.js";

/** Messages that wait in a room to be iterated over; one more ends the iteration with an error. */
const UNREAD_MAX = 1_000;

/** What one call of `subscribe` gave: one handler's share in a subscription, or messages to iterate over. */
export class Room {
  #client;
  #subscription;
  #handler;
  #isOpen = true;
  /** @type {import("./message.js").Message[]} */
  #unread = [];
  /** @type {LhttpError | undefined} What ends the iteration when all messages before are read. */
  #overflow = undefined;
  /** @type {import("./waiting.js").Deferred<void> | undefined} What an iteration that has read all waits for. */
  #more = undefined;

  /**
   * @param {import("./client.js").Client} client
   * @param {import("./subscriptions.js").Subscription} subscription
   * @param {((message: import("./message.js").Message) => unknown) | undefined} handler
   */
  constructor(client, subscription, handler) {
    this.#client = client;
    this.#subscription = subscription;
    this.#handler = handler;
  }

  /** The channel or pattern. */
  get name() {
    return this.#subscription.name;
  }

  /** Whether the server confirmed the subscription, on the connection that there is now. */
  get isLive() {
    return this.#isOpen && this.#subscription.status === "live";
  }

  /**
   * Publishes to this channel.
   * @param {import("../index.d.ts").Body} body
   * @param {import("../index.d.ts").PublishOptions} [options]
   */
  publish(body, options) {
    return this.#client.publish(this.name, body, options);
  }

  /**
   * Ends it: the handler is not called again, an iteration ends. The server hears of it when the last handler of this
   * channel has gone; then this resolves when it has confirmed, or the connection is lost, which ends it too.
   * @param {import("../index.d.ts").OperationOptions} [options]
   * @returns {Promise<void>}
   */
  async unsubscribe(options = {}) {
    checkLimits(options);
    this.end();
    return this.#client.leave(this, this.#subscription, options);
  }

  /** Takes no more messages. */
  end() {
    this.#isOpen = false;
    this.#wakeUp();
  }

  /** @param {import("./message.js").Message} message */
  deliver(message) {
    if (!this.#isOpen) return;
    if (!this.#handler) return this.#keep(message);
    try {
      const result = /** @type {any} */ (this.#handler(message));
      if (typeof result?.then === "function") {
        result.then(undefined, (/** @type {unknown} */ error) => this.#client.handlerFailed(error));
      }
    } catch (error) {
      this.#client.handlerFailed(error);
    }
  }

  /**
   * The messages of a room without a handler, from the subscription on. Leaving the loop unsubscribes.
   * @returns {AsyncGenerator<import("./message.js").Message, void, undefined>}
   */
  async *[Symbol.asyncIterator]() {
    if (this.#handler) throw new TypeError("this room has a handler: subscribe without one to iterate");
    try {
      for (;;) {
        const message = this.#unread.shift();
        if (message) yield message;
        else if (this.#overflow) throw this.#overflow;
        else if (!this.#isOpen) return;
        else await (this.#more ??= deferred()).promise;
      }
    } finally {
      // What becomes of it is no business of the loop's.
      this.unsubscribe().catch(() => {});
    }
  }

  /** @param {import("./message.js").Message} message */
  #keep(message) {
    if (this.#unread.length < UNREAD_MAX) {
      this.#unread.push(message);
    } else {
      this.#overflow = new LhttpError(0, "queue-full", `more than ${UNREAD_MAX} messages of "${this.name}" are unread`);
      this.unsubscribe().catch(() => {});
    }
    this.#wakeUp();
  }

  /** Lets those go on who wait for a message: there may be several loops over one room. */
  #wakeUp() {
    this.#more?.resolve();
    this.#more = undefined;
  }
}
