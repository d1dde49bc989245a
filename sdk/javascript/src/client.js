// The client: the calls of a program, and the parts that implement them.

import { checkPublish, checkSubscribe } from "./channel.js";
import { Connection } from "./connection.js";
import { Emitter, throwLater } from "./emitter.js";
import { LhttpError } from "./error.js";
import { Exchange, closed } from "./exchange.js";
import { callersHeaders, headerPair, headerPairs } from "./headers.js";
import { DEFAULT_COMMAND, Message, Reply, decodeMessage, encodeMessage, publishedIds } from "./message.js";
import { choice, lastOption, readOptions } from "./options.js";
import { Membership } from "./membership.js";
import { PRESENCE_ANSWER, PRESENCE_CHANGE, PRESENCE_COMMAND, Watch, infoHeader, readList } from "./presence.js";
import { Renewal } from "./renewal.js";
import { Room } from "./room.js";
import { Subscription } from "./subscriptions.js";
import { byteLength } from "./text.js";
import { Access } from "./token.js";
import { tooBig, toldLimit } from "./toobig.js";
import { checkAborted, checkLimits, limit, within } from "./waiting.js";

/** The events that can be listened to. */
const EVENTS = ["state", "message", "error"];

/**
 * Connects, and stays connected until `close()`.
 * @param {import("../index.d.ts").UrlInit} url
 * @param {import("../index.d.ts").ConnectOptions} [options]
 */
export function connect(url, options) {
  return new Client(url, options);
}

/** The word of the error that says that the token has run out. */
const TOKEN_EXPIRED = "token-expired";

/** The command of a heartbeat. A processor of this command would receive it. */
const HEARTBEAT_COMMAND = "lhttp-ping";

export class Client {
  #options;
  #connection;
  #exchange;
  #membership;
  #renewal;
  #watch;
  #emitter = new Emitter();
  #tokens = 0;
  /** The largest message, in bytes: from the options, or from the server's close for a larger one. */
  #bytesMax;

  /**
   * @param {import("../index.d.ts").UrlInit} url
   * @param {import("../index.d.ts").ConnectOptions} [options]
   */
  constructor(url, options) {
    this.#options = readOptions(options);
    this.#bytesMax = this.#options.messageBytesMax;
    this.#exchange = new Exchange(() => this.#connection, this.#options);
    this.#membership = new Membership({
      isUp: () => this.#connection.isUp,
      ask: (command, headers, answered) => this.#ask(command, headers, answered),
      failed: (error) => this.#failed(error),
      drop: (why) => this.#connection.drop(why),
      confirmed: (subscription) => this.#watch.refresh(subscription),
    });
    this.#watch = new Watch(this.#options, {
      isOpen: () => this.state === "open" && this.#connection.isUp,
      ask: (name, answered) => this.#ask(PRESENCE_COMMAND, [headerPair("presence", name)], answered, "list"),
      failed: (error) => this.#failed(error),
    });
    const access = new Access(url, this.#options);
    this.#renewal = new Renewal(access, this.#options, {
      isUp: () => this.#connection.isUp,
      ask: (command, headers) => this.#ask(command, headers),
      failed: (error) => this.#failed(error),
      renewing: () => this.#membership.renewing(),
      renewed: () => void this.#membership.renewed(),
    });
    this.#connection = new Connection(access, this.#options, {
      opened: (token) => this.#opened(token),
      received: (data) => this.#received(data),
      silent: () => void this.#ask(HEARTBEAT_COMMAND, []).catch(() => {}),
      lost: (error, loss) => this.#lost(error, loss),
      changed: (change) => this.#emitter.emit("state", change),
    });
  }

  /** `connecting`, `open`, `waiting` or `closed`. */
  get state() {
    return this.#connection.state;
  }

  /** When the next attempt starts while `waiting`, in milliseconds since 1970. */
  get retryAt() {
    return this.#connection.retryAt;
  }

  /** The queued messages and their bytes. */
  get queued() {
    return this.#exchange.queued;
  }

  /**
   * @param {"state" | "message" | "error"} event
   * @param {(event: any) => void} listener
   * @returns {() => void} Removes the listener.
   */
  on(event, listener) {
    if (!EVENTS.includes(event)) throw new TypeError(`there is no event ${JSON.stringify(event)}`);
    return this.#emitter.on(event, listener);
  }

  /**
   * Resolves when there is a connection and all subscriptions are live on it; at once if that is so now.
   * @param {import("../index.d.ts").OperationOptions} [options]
   * @returns {Promise<void>}
   */
  async ready(options = {}) {
    checkLimits(options);
    checkAborted(options);
    if (this.state === "open") return;
    if (this.state === "closed") throw closed();
    await new Promise((resolve, reject) => {
      const off = this.on("state", ({ state }) => {
        if (state !== "open" && state !== "closed") return;
        finish();
        if (state === "open") resolve(undefined);
        else reject(closed());
      });
      const stop = limit(options, (error) => {
        finish();
        reject(error);
      });
      const finish = () => {
        off();
        stop();
      };
    });
  }

  /**
   * @param {string} name
   * @param {(message: Message) => unknown} [handler]
   * @param {import("../index.d.ts").SubscribeOptions} [options]
   * @returns {Promise<Room>}
   */
  async subscribe(name, handler, options = {}) {
    checkSubscribe(name);
    if (handler !== undefined && typeof handler !== "function") throw new TypeError("a handler is a function");
    const { command = DEFAULT_COMMAND } = options;
    const last = lastOption(options.last);
    const { info } = options;
    const shown = info === undefined ? [] : [infoHeader(info)];
    const headers = callersHeaders(options.headers, ["subscribe", "since", "last", "presence-info", "ack"]);
    // Refuse an oversized message here, instead of on each connection.
    this.#checkSize(encodeMessage(command, [headerPair("subscribe", name), ...shown, ...headers]));
    checkLimits(options);
    checkAborted(options);
    if (this.state === "closed") throw closed();
    const subscription = new Subscription(name, command, headers, this.#options.resume, info);
    return this.#membership.join(
      subscription,
      (joined) => new Room(this, joined, handler, joined.isPattern ? 0 : last),
      options,
    );
  }

  /**
   * @param {string} channel
   * @param {import("../index.d.ts").PresenceOptions} [options]
   * @returns {Promise<import("../index.d.ts").Present>}
   */
  async presence(channel, options = {}) {
    checkPublish(channel);
    const headers = [headerPair("presence", channel)];
    const { signal, timeout, offline, retry } = options;
    const given = { signal, timeout, offline, retry, command: PRESENCE_COMMAND };
    const token = this.#token();
    return readList(
      await this.#submit(given, { headers, body: "", token, timeout: this.#options.ackTimeout, wants: "list" }),
    );
  }

  /**
   * A room has a new listener for who is there.
   * @param {import("./subscriptions.js").Subscription} subscription
   */
  watch(subscription) {
    this.#watch.refresh(subscription);
  }

  /**
   * @param {import("./subscriptions.js").Subscription} subscription
   * @param {string} info
   * @param {import("../index.d.ts").OperationOptions} options
   */
  async show(subscription, info, options) {
    const { name, command, headers } = subscription;
    this.#checkSize(encodeMessage(command, [headerPair("subscribe", name), infoHeader(info), ...headers]));
    checkLimits(options);
    checkAborted(options);
    return this.#membership.show(subscription, info, options);
  }

  /**
   * @param {Room} room
   * @param {import("./subscriptions.js").Subscription} subscription
   * @param {import("../index.d.ts").OperationOptions} [options]
   */
  leave(room, subscription, options = {}) {
    return this.#membership.leave(room, subscription, options);
  }

  /**
   * @param {string | readonly string[]} channels
   * @param {import("../index.d.ts").Body} [body]
   * @param {import("../index.d.ts").PublishOptions} [options]
   * @returns {Promise<import("../index.d.ts").Published>}
   */
  async publish(channels, body = "", options = {}) {
    const names = typeof channels === "string" ? [channels] : [...channels];
    if (names.length === 0) throw new LhttpError(400, "bad-channel", "there is no channel");
    names.forEach(checkPublish);
    const headers = [headerPair("publish", names.join(" "))];
    if (options.noEcho) headers.push(headerPair("no-echo", "true"));
    headers.push(...callersHeaders(options.headers, ["publish", "no-echo", "ack"]));
    const token = options.ack === false ? undefined : this.#token();
    const ack = await this.#submit(options, { headers, body, token, timeout: this.#options.ackTimeout });
    const ids = publishedIds(names, ack);
    if (options.noEcho) this.#membership.hasPublished(names, ids);
    return { id: ids[0], ids };
  }

  /**
   * @param {string} upstream
   * @param {import("../index.d.ts").RequestOptions} [options]
   * @returns {Promise<Reply>}
   */
  async request(upstream, options = {}) {
    if (!/^[A-Za-z-]+ https?:\/\/[^\s]+$/i.test(upstream)) {
      throw new LhttpError(400, "bad-upstream", 'a request is "METHOD URL", the URL with http: or https:');
    }
    const headers = [headerPair("upstream", upstream), headerPair("upstream-reply", "true")];
    headers.push(...callersHeaders(options.headers, ["upstream", "upstream-reply", "ack"]));
    const { body = "" } = options;
    const timeout = this.#options.requestTimeout;
    const token = this.#token();
    return new Reply(await this.#submit(options, { headers, body, token, timeout, wants: "reply" }));
  }

  /**
   * @param {string} command
   * @param {import("../index.d.ts").HeadersInit | null} [headers]
   * @param {import("../index.d.ts").Body} [body]
   */
  send(command, headers, body) {
    const data = encodeMessage(command, headerPairs(headers), body);
    const bytes = this.#checkSize(data);
    // The message may be lost with the connection, and the caller did not ask to be told.
    const unheard = () => {};
    this.#exchange.submit(
      { data, bytes, token: undefined, timeout: 0, retry: false, wants: "ack", resolve: unheard, reject: unheard },
      this.#options.offline,
    );
  }

  /**
   * Asks for a token and gives it to the server, once there is a connection.
   * @param {import("../index.d.ts").OperationOptions} [options]
   * @returns {Promise<void>}
   */
  async renewToken(options = {}) {
    if (this.#options.token === undefined) throw new TypeError("the client was made without the option token");
    await this.ready(options);
    await within(this.#renewal.renew(), options);
  }

  /** Ends everything. Messages that are not sent or not answered are rejected with `closed`. */
  close() {
    if (this.state === "closed") return;
    this.#connection.close();
    this.#renewal.lost();
    this.#watch.lost();
    this.#exchange.close();
    this.#membership.close();
  }

  /**
   * A handler threw, or its promise was rejected. That is the caller's own error, and must not be lost.
   * @param {unknown} error
   */
  handlerFailed(error) {
    if (this.#emitter.has("error")) this.#emitter.emit("error", error);
    else throwLater(error);
  }

  /**
   * @param {import("../index.d.ts").SendOptions} options
   * @param {{ headers: import("./headers.js").Header[], body: import("../index.d.ts").Body, token: string | undefined,
   *   timeout: number, wants?: import("./exchange.js").Wanted }} what
   * @returns {Promise<any>}
   */
  #submit(options, { headers, body, token, timeout, wants = "ack" }) {
    const { command = DEFAULT_COMMAND, retry = false } = options;
    checkLimits(options);
    checkAborted(options);
    const offline = choice("offline", options.offline, this.#options.offline);
    // First, so that the server finds the token in a head that is too big, and can name the message that it refuses.
    const allHeaders = token === undefined ? headers : [headerPair("ack", token), ...headers];
    const data = encodeMessage(command, allHeaders, body);
    const bytes = this.#checkSize(data);
    return new Promise((resolve, reject) => {
      let stop = () => {};
      /** @type {import("./exchange.js").Operation} */
      const operation = {
        data,
        bytes,
        token,
        timeout,
        retry,
        wants,
        resolve: (answer) => (stop(), resolve(answer)),
        reject: (error) => (stop(), reject(error)),
      };
      stop = limit(options, (error) => {
        this.#exchange.forget(operation);
        reject(error);
      });
      try {
        this.#exchange.submit(operation, offline);
      } catch (error) {
        operation.reject(error);
      }
    });
  }

  /**
   * Sends at once, before all queued messages, and resolves on the acknowledgement.
   * @param {string} command
   * @param {import("./headers.js").Header[]} headers
   * @param {(answer: Message) => void} [answered] Called at once, before another message is read.
   * @param {import("./exchange.js").Wanted} [wants]
   * @returns {Promise<Message>}
   */
  #ask(command, headers, answered, wants = "ack") {
    const token = this.#token();
    const data = encodeMessage(command, [headerPair("ack", token), ...headers]);
    const bytes = byteLength(data);
    return new Promise((settle, reject) => {
      const timeout = this.#options.ackTimeout;
      const resolve = (/** @type {Message} */ answer) => {
        try {
          answered?.(answer);
        } catch (error) {
          return reject(error);
        }
        settle(answer);
      };
      this.#exchange.sendNow({ data, bytes, token, timeout, retry: false, wants, resolve, reject });
    });
  }

  /** @param {string | undefined} token */
  async #opened(token) {
    this.#renewal.connected(token);
    const isCurrent = await this.#membership.rejoin();
    if (!isCurrent) return;
    this.#connection.ready();
    this.#exchange.flush();
    this.#membership.rejoined();
  }

  /**
   * @param {LhttpError} error
   * @param {import("./connection.js").Loss} loss
   */
  #lost(error, loss) {
    this.#membership.lost();
    this.#renewal.lost();
    this.#watch.lost();
    this.#bytesMax = Math.min(this.#bytesMax, toldLimit(loss) ?? Infinity);
    this.#exchange.lost(error, loss);
    this.#exchange.refuse(this.#bytesMax);
    if (this.state === "closed") this.#membership.close();
  }

  /** @param {string | Uint8Array} data */
  #received(data) {
    const message = decodeMessage(data);
    if (!message) return this.#emitter.emit("message", new Message("", [], data));
    const { channels } = message;
    // Only the server sends messages without a publish header: a message that others publish is never an answer to us.
    if (channels.length === 0) {
      if (!this.#answer(message)) this.#emitter.emit("message", message);
      return;
    }
    this.#membership.deliver(data, message);
    this.#emitter.emit("message", message);
  }

  /**
   * Processes an answer to an operation of ours. False if the message is not one.
   * @param {Message} message
   */
  #answer(message) {
    const token = message.header("ack");
    if (message.command === "error") {
      const code = Number(message.header("code"));
      const error = new LhttpError(code, message.header("reason") ?? "", message.text());
      if (!this.#exchange.refused(token, error)) this.#unexpected(error, message.header("channel"));
      if (code === 401) this.#renewal.unauthorized();
      return true;
    }
    if (message.header("upstream-status") !== undefined) return this.#exchange.answered(token, "reply", message);
    if (message.command === PRESENCE_ANSWER) return this.#exchange.answered(token, "list", message);
    if (message.command === PRESENCE_CHANGE) return this.#present(message);
    if (message.command !== "ack") return false;
    this.#exchange.answered(token, "ack", message);
    return true;
  }

  /**
   * Processes what the server says of who has come to a channel and gone. False if it names no channel, because then
   * another has sent it.
   * @param {Message} message
   */
  #present(message) {
    const channel = message.header("channel");
    if (channel === undefined) return false;
    const subscription = this.#membership.findChannel(channel);
    if (subscription) this.#watch.changed(subscription, message);
    return true;
  }

  /**
   * An error that answers no operation.
   * @param {LhttpError} error
   * @param {string | undefined} channel The subscription that has ended with it.
   */
  #unexpected(error, channel) {
    if (channel !== undefined) return this.#membership.ended(channel, error);
    if (error.reason === TOKEN_EXPIRED) this.#membership.expired();
    this.#failed(error);
  }

  /** @param {LhttpError} error An error that no caller waits for. */
  #failed(error) {
    if (this.#emitter.has("error")) this.#emitter.emit("error", error);
    else console.error(`lhttp: ${error.code} ${error.reason}: ${error.message}`);
  }

  /** @param {string | Uint8Array} data */
  #checkSize(data) {
    const bytes = byteLength(data);
    if (bytes > this.#bytesMax) throw tooBig(bytes, this.#bytesMax);
    return bytes;
  }

  #token() {
    this.#tokens += 1;
    return this.#tokens.toString(36);
  }
}
