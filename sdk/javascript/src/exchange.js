// Messages and their answers: acknowledgements, replies, and the queue of messages that cannot be sent yet.

import { deadline } from "./deadline.js";
import { LhttpError } from "./error.js";
import { overLimit, tooBig } from "./toobig.js";

/** The interval at which a full send buffer is checked again, in milliseconds: a WebSocket has no event for it. */
const DRAIN_INTERVAL = 50;

/**
 * @typedef {"ack" | "reply" | "list"} Wanted The acknowledgement, the reply of an upstream, or the list of who is in a
 * channel.
 */

/**
 * @typedef {object} Operation A message to be sent.
 * @property {string | Uint8Array} data The whole message. Once sent, it is kept only if it may be sent again.
 * @property {number} bytes Its length.
 * @property {string | undefined} token The `ack` token. An operation without one is done once it is sent.
 * @property {number} timeout How long the answer may take, in milliseconds from sending.
 * @property {boolean} retry Whether it is sent again if the connection is lost before the answer.
 * @property {Wanted} wants The answer that it waits for.
 * @property {(answer: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {number} [sends] How often it was sent.
 * @property {number} [order] Its place among all sent messages.
 * @property {() => void} [stopTimer]
 */

export class Exchange {
  #connection;
  #options;
  /** @type {Map<string, Operation>} Operations in flight, by token, the oldest first. */
  #unacked = new Map();
  /** The bytes of those that may be sent again, which are kept until they are answered. */
  #keptBytes = 0;
  /** The number of messages sent. */
  #sent = 0;
  /** The largest message without an answer that was sent after the last answered one. */
  #unheard = { bytes: 0, order: 0 };
  /** @type {Operation[]} Operations that are not sent yet. */
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

  /** The queued messages and their bytes. */
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
   * Sends an operation before all queued ones.
   * @param {Operation} operation
   */
  sendNow(operation) {
    const { data, bytes, token, timeout, retry } = operation;
    try {
      this.#connection().send(data);
    } catch (error) {
      return operation.reject(new LhttpError(0, "connection-lost", "the socket did not take it", { cause: error }));
    }
    this.#sent += 1;
    operation.order = this.#sent;
    operation.sends = (operation.sends ?? 0) + 1;
    if (token === undefined) {
      if (bytes >= this.#unheard.bytes) this.#unheard = { bytes, order: this.#sent };
      return operation.resolve(undefined);
    }
    if (retry) this.#keptBytes += bytes;
    else operation.data = "";
    this.#unacked.set(token, operation);
    operation.stopTimer = deadline(timeout, () => {
      this.#take(token);
      operation.reject(new LhttpError(0, "timeout", `no answer within ${timeout} ms`));
      this.flush();
    });
  }

  /** Sends the queue, as far as possible. */
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
   * Nobody waits for this operation any more. If it is still queued, it is not sent.
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
   * The server answers an operation. False if no operation with this token waits for such an answer.
   * @param {string | undefined} token
   * @param {Wanted} kind
   * @param {import("./message.js").Message} answer
   */
  answered(token, kind, answer) {
    const wants = token === undefined ? undefined : this.#unacked.get(token)?.wants;
    // The acknowledgement of a request says only that the request is in progress.
    if (wants === "reply" && kind === "ack") return true;
    if (kind !== "ack" && wants !== kind) return false;
    return this.#settle(token, (operation) => operation.resolve(answer));
  }

  /**
   * The server refuses an operation. False if there is none with this token.
   * @param {string | undefined} token
   * @param {LhttpError} error
   */
  refused(token, error) {
    return this.#settle(token, (operation) => operation.reject(error));
  }

  /**
   * @param {string | undefined} token
   * @param {(operation: Operation) => void} settle
   */
  #settle(token, settle) {
    const operation = token === undefined ? undefined : this.#unacked.get(token);
    if (token === undefined || !operation) return false;
    this.#take(token);
    // The server has read everything that was sent before.
    if (this.#unheard.order < (operation.order ?? 0)) this.#unheard = { bytes: 0, order: 0 };
    settle(operation);
    this.flush();
    return true;
  }

  /**
   * The connection is gone. Messages that may be sent again go back to the front of the queue, even if there is no room
   * for them, because they were accepted.
   * @param {LhttpError} error
   * @param {import("./connection.js").Loss} [loss]
   */
  lost(error, loss = {}) {
    clearTimeout(this.#drain);
    const unacked = [...this.#unacked.values()];
    const refused = overLimit(loss, unacked, this.#unheard.bytes);
    this.#unacked.clear();
    this.#keptBytes = 0;
    this.#unheard = { bytes: 0, order: 0 };
    /** @type {Operation[]} */
    const again = [];
    for (const operation of unacked) {
      operation.stopTimer?.();
      const { retry, bytes, sends = 0 } = operation;
      if (refused.has(operation)) operation.reject(tooBig(bytes, refused.bytesMax));
      else if (!retry || this.#isClosed()) operation.reject(error);
      else if (sends > this.#options.retriesMax) operation.reject(lostEachTime(sends, error));
      else again.push(operation);
    }
    this.#queue = [...again, ...this.#queue];
    this.#queuedBytes += again.reduce((bytes, operation) => bytes + operation.bytes, 0);
    if (this.#isClosed()) this.#rejectQueue(error);
  }

  /**
   * Rejects queued messages that are larger than the server accepts.
   * @param {number} bytesMax
   */
  refuse(bytesMax) {
    const refused = this.#queue.filter(({ bytes }) => bytes > bytesMax);
    if (refused.length === 0) return;
    this.#queue = this.#queue.filter(({ bytes }) => bytes <= bytesMax);
    for (const operation of refused) {
      this.#queuedBytes -= operation.bytes;
      operation.reject(tooBig(operation.bytes, bytesMax));
    }
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

  #isClosed() {
    return this.#connection().state === "closed";
  }

  #canSend() {
    const connection = this.#connection();
    return (
      connection.state === "open" &&
      connection.isUp &&
      this.#unacked.size < this.#options.unackedMax &&
      this.#keptBytes <= this.#options.bufferedBytesMax &&
      connection.bufferedBytes <= this.#options.bufferedBytesMax
    );
  }

  /** @param {string} token */
  #take(token) {
    const operation = this.#unacked.get(token);
    if (operation) {
      operation.stopTimer?.();
      this.#unacked.delete(token);
      if (operation.retry) this.#keptBytes -= operation.bytes;
    }
    return operation;
  }
}

/**
 * @param {number} sends
 * @param {LhttpError} error
 */
function lostEachTime(sends, error) {
  const sentence = `sent ${sends} times, and each time the connection was lost before the answer: ${error.message}`;
  return new LhttpError(0, "connection-lost", sentence, { cause: error });
}

export function closed() {
  return new LhttpError(0, "closed", "the client is closed");
}
