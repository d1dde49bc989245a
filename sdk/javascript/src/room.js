/** What one call of `subscribe` gave: one handler's share in a subscription. */
export class Room {
  #client;
  #subscription;
  #handler;
  #isOpen = true;

  /**
   * @param {import("./client.js").Client} client
   * @param {import("./subscriptions.js").Subscription} subscription
   * @param {(message: import("./message.js").Message) => unknown} handler
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
    return this.#isOpen && this.#subscription.isLive;
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
   * Ends it: the handler is not called again. The server hears of it when the last handler of this channel has gone;
   * then this resolves when it has confirmed, or the connection is lost, which ends it too.
   * @param {import("../index.d.ts").OperationOptions} [options]
   * @returns {Promise<void>}
   */
  unsubscribe(options) {
    this.#isOpen = false;
    return this.#client.leave(this, this.#subscription, options);
  }

  /**
   * @param {import("./message.js").Message} message
   */
  deliver(message) {
    if (!this.#isOpen) return;
    try {
      const result = /** @type {any} */ (this.#handler(message));
      if (typeof result?.then === "function") {
        result.then(undefined, (/** @type {unknown} */ error) => this.#client.handlerFailed(error));
      }
    } catch (error) {
      this.#client.handlerFailed(error);
    }
  }
}
