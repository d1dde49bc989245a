import { checkPublish } from "./channel.js";
import { Emitter } from "./emitter.js";
import { LhttpError } from "./error.js";
import { checkLimits, deferred } from "./waiting.js";

/** The most messages that wait in a room for a loop; one more ends the loop with an error. */
const UNREAD_MAX = 1_000;

/** The events of a room about who is there. */
const PRESENCE_EVENTS = ["presence", "join", "leave"];
/** The events of a room. */
const ROOM_EVENTS = ["gap", ...PRESENCE_EVENTS];

/** The result of one call of `subscribe`: one handler's share in a subscription, or messages to iterate over. */
export class Room {
  #client;
  #subscription;
  #handler;
  #isOpen = true;
  #emitter = new Emitter();
  /** @type {import("./message.js").Message[]} */
  #unread = [];
  /** @type {LhttpError | undefined} The error that ends the loop once all earlier messages are read. */
  #overflow = undefined;
  /** @type {import("./waiting.js").Deferred<void> | undefined} A loop that has read all messages waits for this. */
  #more = undefined;

  /**
   * @param {import("./client.js").Client} client
   * @param {import("./subscriptions.js").Subscription} subscription
   * @param {((message: import("./message.js").Message) => unknown) | undefined} handler
   * @param {number} last How many old messages it begins with.
   */
  constructor(client, subscription, handler, last) {
    this.#client = client;
    this.#subscription = subscription;
    this.#handler = handler;
    /** Not in the types: for the subscription. */
    this.last = last;
  }

  /** The channel or pattern. */
  get name() {
    return this.#subscription.name;
  }

  /** Whether the server has confirmed the subscription on the current connection. */
  get isLive() {
    return this.#isOpen && this.#subscription.status === "live";
  }

  /**
   * @param {"gap" | "presence" | "join" | "leave"} event
   * @param {(event: any) => void} listener
   * @returns {() => void} Removes the listener.
   */
  on(event, listener) {
    if (!ROOM_EVENTS.includes(event)) throw new TypeError(`a room has no event ${JSON.stringify(event)}`);
    const isAboutPresence = PRESENCE_EVENTS.includes(event);
    // Patterns have none.
    if (isAboutPresence) checkPublish(this.name);
    const off = this.#emitter.on(event, listener);
    if (isAboutPresence) this.#client.watch(this.#subscription);
    // Another room of this channel may have had the list already.
    if (event === "presence") void Promise.resolve().then(() => this.#tellLate());
    return off;
  }

  /** Whether somebody listens for who is there. */
  get isWatching() {
    return this.#isOpen && PRESENCE_EVENTS.some((event) => this.#emitter.has(event));
  }

  /**
   * Who is in this channel.
   * @param {import("../index.d.ts").PresenceOptions} [options]
   */
  presence(options) {
    return this.#client.presence(this.name, options);
  }

  /**
   * Changes what others see beside the user.
   * @param {string} info
   * @param {import("../index.d.ts").OperationOptions} [options]
   * @returns {Promise<void>}
   */
  async setInfo(info, options = {}) {
    if (!this.#isOpen) throw new LhttpError(0, "closed", `the room of "${this.name}" has ended`);
    return this.#client.show(this.#subscription, info, options);
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
   * Ends this room: the handler is not called again, and a loop ends. The server is told once the last handler of this
   * channel has gone. Then this resolves when the server has confirmed, or when the connection is lost, which ends the
   * subscription too.
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

  /** Messages that this room should have had are not kept any more. */
  gap() {
    if (this.#isOpen) this.#emitter.emit("gap", { channel: this.name });
  }

  /**
   * Somebody has come or gone, or is shown otherwise.
   * @param {import("./roster.js").Roster} roster
   * @param {readonly import("../index.d.ts").PresentUser[]} left
   * @param {readonly import("../index.d.ts").PresentUser[]} joined
   */
  tellPresence(roster, left, joined) {
    /** @type {(event: string, value: any) => void} */
    const emit = (event, value) => this.#isOpen && this.#emitter.emit(event, value);
    for (const user of left) emit("leave", user);
    for (const user of joined) emit("join", user);
    if (this.#emitter.has("presence")) emit("presence", roster.present());
  }

  #tellLate() {
    const { roster } = this.#subscription;
    if (roster.isCurrent) this.tellPresence(roster, [], []);
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
      // The loop does not care about the result.
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

  /** Wakes the loops that wait for a message; one room may have several. */
  #wakeUp() {
    this.#more?.resolve();
    this.#more = undefined;
  }
}
