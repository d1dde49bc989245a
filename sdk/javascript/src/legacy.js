// The API of the old lhttp-client.js, for pages written for it. It does not reconnect, because such pages do that
// themselves if at all.

import { checkSubscribe } from "./channel.js";
import { headerPairs } from "./headers.js";
import { decodeMessage, encodeMessage } from "./message.js";
import { asBytes, encodeText } from "./text.js";

export const PROTOCOL_AND_VER = "LHTTP/1.0";
export const HEADER_KEY_PUBLISH = "publish";
export const HEADER_KEY_SUBSCRIBE = "subscribe";
const HEADER_KEY_UNSUBSCRIBE = "unsubscribe";

/**
 * A connection with callbacks; each is called with a `Context`.
 * @this {any}
 * @param {string} url
 */
export function Lhttp(url) {
  this.conn = new WebSocket(url);
  this.conn.binaryType = "arraybuffer";
  this.on_open = () => {};
  this.on_message = () => {};
  this.on_close = () => {};
  this.on_error = () => {};
  // Looked up at each event, because pages set them after the constructor.
  this.conn.onopen = () => this.on_open(new Context(this.conn, null));
  this.conn.onmessage = (/** @type {MessageEvent} */ event) => this.on_message(new Context(this.conn, event.data));
  this.conn.onclose = () => this.on_close(new Context(this.conn, null));
  this.conn.onerror = () => this.on_error(new Context(this.conn, null));
  this.context = new Context(this.conn, null);
}

/** A received message, and the message to answer with. */
export class Context {
  /**
   * @param {any} conn
   * @param {unknown} message
   */
  constructor(conn, message) {
    this.conn = conn;
    this.req = new OldMessage(message);
    this.resp = new OldMessage("");
    this.upstreamURL = "";
    this.multiparts = this.req.parts();
    // Each is an own property, as in the old SDK: a page may take one out and call it alone.
    for (const name of METHODS) /** @type {any} */ (this)[name] = /** @type {any} */ (this)[name].bind(this);
  }

  /** @param {string} command */
  setCommand(command) {
    this.resp.command = command;
  }

  getCommand() {
    return this.req.command;
  }

  /**
   * All headers, whatever the name, because the old SDK returned that. Used as text, the object is the header of that
   * name: `"" + context.getHeader("from")`, `context.getHeader("from") == "mike"`.
   * @param {string} [name]
   */
  getHeader(name) {
    const headers = { ...this.req.headers };
    if (name === undefined) return headers;
    const value = this.req.header(name) ?? "";
    return Object.defineProperty(headers, Symbol.toPrimitive, { value: () => value });
  }

  /**
   * @param {string} key
   * @param {unknown} value
   */
  addHeader(key, value) {
    this.resp.headers[key] = value;
  }

  /** The body as text. */
  getBody() {
    return this.req.body;
  }

  /** The body as bytes, also of a binary message. */
  getBytes() {
    return this.req.bytes;
  }

  /** The parts of a multipart message, each with `headers`, `body` (text) and `bytes`. */
  getMultipart() {
    return this.multiparts;
  }

  /** @param {unknown} body */
  send(body) {
    this.#send({}, body);
  }

  /**
   * @param {string} channel
   * @param {string} command
   * @param {Record<string, unknown> | null} headers
   * @param {unknown} body
   */
  publish(channel, command, headers, body) {
    this.#control(HEADER_KEY_PUBLISH, channel, command, headers, body);
  }

  /**
   * @param {string} channel
   * @param {string} [command]
   * @param {Record<string, unknown> | null} [headers]
   * @param {unknown} [body]
   */
  subscribe(channel, command, headers, body = "") {
    this.#control(HEADER_KEY_SUBSCRIBE, channel, command, headers, body);
  }

  /**
   * @param {string} channel
   * @param {string} [command]
   * @param {Record<string, unknown> | null} [headers]
   * @param {unknown} [body]
   */
  unsubscribe(channel, command, headers, body = "") {
    this.#control(HEADER_KEY_UNSUBSCRIBE, channel, command, headers, body);
  }

  /**
   * The control header applies to this message only. The old SDK let it stay, so that a context that had subscribed
   * once did so again with each message. Headers from addHeader and `headers` stay, as they did.
   * @param {string} header
   * @param {string} channel
   * @param {string | undefined} command
   * @param {Record<string, unknown> | null | undefined} headers
   * @param {unknown} body
   */
  #control(header, channel, command, headers, body) {
    String(channel)
      .split(/[ \t]+/)
      .filter(Boolean)
      .forEach(checkSubscribe);
    delete this.resp.headers[header];
    this.setCommand(command === undefined || command === null || command === "" ? "chat" : command);
    for (const name in headers) this.addHeader(name, headers[name]);
    this.#send({ [header]: channel }, body);
  }

  /**
   * @param {Record<string, unknown>} control
   * @param {unknown} body
   */
  #send(control, body) {
    this.resp.body = body;
    if (this.resp.command === "") this.resp.command = this.req.command;
    this.conn.send(this.resp.encode(control));
  }
}

const METHODS = [
  ...["setCommand", "getCommand", "getHeader", "addHeader", "getBody", "getBytes", "getMultipart"],
  ...["send", "publish", "subscribe", "unsubscribe"],
];

/** The old `Message`: headers in an object, the body as text. */
export class OldMessage {
  #message;

  /** @param {unknown} message The received message, or nothing. */
  constructor(message) {
    const raw = typeof message === "string" ? message : asBytes(message);
    this.rawMessage = message;
    this.command = "";
    /** @type {Record<string, any>} */
    this.headers = {};
    /** @type {any} */
    this.body = "";
    this.#message = raw === undefined ? undefined : decodeMessage(raw);
    if (this.#message) this.#read(this.#message);
  }

  /** @param {import("./message.js").Message} message */
  #read(message) {
    this.command = message.command;
    for (const [name, value] of message.headers) this.headers[name] ??= value;
    this.body = message.text();
  }

  /** @param {string} name */
  header(name) {
    return this.#message?.header(name);
  }

  get bytes() {
    return this.#message?.bytes() ?? encodeText(String(this.body));
  }

  parts() {
    if (!this.#message) return [];
    try {
      return this.#message.parts().map((part) => ({
        headers: Object.fromEntries(part.headers),
        body: part.text(),
        bytes: part.bytes(),
      }));
    } catch {
      // The header is not one of PROTOCOL.md §4, but the body is still there as a whole.
      return [];
    }
  }

  /** @param {Record<string, unknown>} [control] Headers of this one message. */
  encode(control = {}) {
    const bytes = asBytes(this.body);
    const headers = headerPairs({ .../** @type {any} */ (control), ...this.headers });
    return encodeMessage(this.command, headers, bytes ?? String(this.body));
  }
}
