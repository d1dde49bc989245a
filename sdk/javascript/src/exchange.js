// What is sent and what answers it: acknowledgements, replies, and the queue of what cannot be sent yet.

import { LhttpError } from "./error.js";

/** How often a full send buffer is looked at again, in milliseconds: a WebSocket does not say when it has drained. */
const DRAIN_INTERVAL = 50;

/**
 * @typedef {object} Operation Something to be sent.
 * @property {string | Uint8Array} data The whole message.
 * @property {number} bytes Its length.
 * @property {string | undefined} token The `ack` token; without one it is done once it is sent.
 * @property {number} timeout How long the answer may take, in milliseconds from sending.
 * @property {boolean} retry Whether it is sent again if the connection is lost before the answer.
 * @property {boolean} wantsReply Whether the acknowledgement alone is no answer.
 * @property {(answer: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {ReturnType<typeof setTimeout>} [timer]
 */

export class Exchange {
  #connection;
  #options;
  /** @type {Map<string, Operation>} Sent and not answered, by token, the oldest first. */
  #unacked = new Map();
  /** @type {Operation[]} Not sent. */
  #queue = [];
  #queuedBytes = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #drain = undefined;

  /**
   * @param {() => import("./connection.js").Connection} connection
   * @param {import("./options.js").Options} options
   */
  constructor(connection, options) {
    this.#connection = connection;
    this.#options = options;
  }

  /** What waits to be sent. */
  get queued() {
    return { messages: this.#queue.length, bytes: this.#queuedBytes };
  }

  /**
   * Sends an operation as soon as everything before it is sent, or refuses it.
   * @param {Operation} operation
   * @param {import("../index.d.ts").Offline} offline
   * @throws {LhttpError} `closed`, `offline`, `queue-full`
   */
  submit(operation, offline) {
    const { state } = this.#connection();
    if (state === "closed") throw closed();
    if (this.#queue.length === 0 && this.#canSend()) return this.sendNow(operation);
    if (state !== "open" && offline === "fail") throw new LhttpError(0, "offline", "there is no connection");
    const { messagesMax, bytesMax } = this.#options.queue;
    if (this.#queue.length >= messagesMax || this.#queuedBytes + operation.bytes > bytesMax) {
      const sentence = `the queue is full: ${this.#queue.length} messages, ${this.#queuedBytes} bytes`;
      throw new LhttpError(0, "queue-full", sentence);
    }
    this.#queue.push(operation);
    this.#queuedBytes += operation.bytes;
    this.flush();
  }

  /**
   * Sends an operation before everything that waits.
   * @param {Operation} operation
   */
  sendNow(operation) {
    const { token, timeout } = operation;
    this.#connection().send(operation.data);
    if (token === undefined) return operation.resolve(undefined);
    this.#unacked.set(token, operation);
    operation.timer = setTimeout(() => {
      this.#unacked.delete(token);
      operation.reject(new LhttpError(0, "timeout", `no answer within ${timeout} ms`));
      this.flush();
    }, timeout);
  }

  /** Sends what waits, as far as it can be sent. */
  flush() {
    clearTimeout(this.#drain);
    while (this.#queue.length > 0 && this.#canSend()) {
      const operation = /** @type {Operation} */ (this.#queue.shift());
      this.#queuedBytes -= operation.bytes;
      this.sendNow(operation);
    }
    if (this.#queue.length > 0 && this.#connection().state === "open") {
      this.#drain = setTimeout(() => this.flush(), DRAIN_INTERVAL);
    }
  }

  /**
   * Nobody waits for this operation any more. It is not sent if it was not yet.
   * @param {Operation} operation
   */
  forget(operation) {
    if (operation.token !== undefined && this.#take(operation.token) === operation) return;
    const at = this.#queue.indexOf(operation);
    if (at >= 0) {
      this.#queue.splice(at, 1);
      this.#queuedBytes -= operation.bytes;
    }
  }

  /**
   * The server answers an operation. False if there is none of this token that waits for this.
   * @param {string | undefined} token
   * @param {{ reply?: import("./message.js").Message, error?: LhttpError }} answer
   */
  answered(token, { reply, error }) {
    const operation = token === undefined ? undefined : this.#unacked.get(token);
    if (token === undefined || !operation) return false;
    // Of a request the acknowledgement says only that it is under way.
    if (operation.wantsReply && !reply && !error) return true;
    if (reply && !operation.wantsReply) return false;
    this.#take(token);
    if (error) operation.reject(error);
    else operation.resolve(reply);
    this.flush();
    return true;
  }

  /**
   * The connection is gone. What may be sent again goes back to where it came from: before all that waits, even if
   * there is no room for it, because it was accepted.
   * @param {LhttpError} error
   */
  lost(error) {
    clearTimeout(this.#drain);
    const unacked = [...this.#unacked.values()];
    this.#unacked.clear();
    const isClosed = this.#connection().state === "closed";
    const again = isClosed ? [] : unacked.filter(({ retry }) => retry);
    this.#queue.unshift(...again);
    this.#queuedBytes += again.reduce((bytes, operation) => bytes + operation.bytes, 0);
    for (const operation of unacked) {
      clearTimeout(operation.timer);
      if (isClosed || !operation.retry) operation.reject(error);
    }
    if (isClosed) this.#rejectQueue(error);
  }

  /** Nothing more will be sent or answered. */
  close() {
    this.lost(closed());
    this.#rejectQueue(closed());
  }

  /** @param {LhttpError} error */
  #rejectQueue(error) {
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const operation of queue) operation.reject(error);
  }

  #canSend() {
    const connection = this.#connection();
    return (
      connection.state === "open" &&
      connection.isUp &&
      this.#unacked.size < this.#options.unackedMax &&
      connection.bufferedBytes <= this.#options.bufferedBytesMax
    );
  }

  /** @param {string} token */
  #take(token) {
    const operation = this.#unacked.get(token);
    if (operation) {
      clearTimeout(operation.timer);
      this.#unacked.delete(token);
    }
    return operation;
  }
}

export function closed() {
  return new LhttpError(0, "closed", "the client is closed");
}
