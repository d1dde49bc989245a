// LHTTP messages (PROTOCOL.md §1).

import { splitNames } from "./channel.js";
import { LhttpError } from "./error.js";
import { findHeader, headerLines, headerPair, readHeaders } from "./headers.js";
import { Multipart, readMultipart } from "./multipart.js";
import { asBytes, decodeText, encodeText, joinBytes } from "./text.js";

const VERSION = "LHTTP/1.0";
const COMMAND_FORM = /^[\x21-\x7e]{1,64}$/;
/** The command of a message without one. */
export const DEFAULT_COMMAND = "chat";
const HEAD_END = "\r\n\r\n";

/** A received message. */
export class Message {
  /**
   * @param {string} command
   * @param {import("./headers.js").Header[]} headers
   * @param {string | Uint8Array} body
   */
  constructor(command, headers, body) {
    this.command = command;
    /** In the order of the message, names as written, values trimmed. */
    this.headers = headers;
    /** A string if the message came as text, otherwise bytes. */
    this.body = body;
    /**
     * The channel of this copy; undefined if the message is not a publish.
     * @type {string | undefined}
     */
    this.channel = undefined;
  }

  /**
   * The first header of this name, in any case.
   * @param {string} name
   */
  header(name) {
    return findHeader(this.headers, name);
  }

  /** All channels that the message was published to. */
  get channels() {
    return this.headers.flatMap(([name, value]) => (name.toLowerCase() === "publish" ? splitNames(value) : []));
  }

  /** The body as text. */
  text() {
    return typeof this.body === "string" ? this.body : decodeText(this.body);
  }

  /** The body as bytes. */
  bytes() {
    return typeof this.body === "string" ? encodeText(this.body) : this.body;
  }

  /** The body read as JSON. */
  json() {
    return JSON.parse(this.text());
  }

  /**
   * The parts of a multipart body; none if the message has no `multipart` header.
   * @throws {LhttpError} `bad-multipart`
   */
  parts() {
    const offsets = this.header("multipart");
    return offsets === undefined ? [] : readMultipart(offsets, this.bytes(), typeof this.body === "string");
  }
}

/** An answer to `request`. */
export class Reply extends Message {
  /** @param {Message} message */
  constructor(message) {
    super(message.command, message.headers, message.body);
    /** The HTTP status of the upstream's answer. */
    this.status = Number(message.header("upstream-status"));
  }

  /** Whether the status is a success. */
  get ok() {
    return this.status >= 200 && this.status < 300;
  }
}

/**
 * Sets the channel on which a message came.
 * @param {Message} message
 * @param {string} channel
 */
export function cameOn(message, channel) {
  message.channel = channel;
  return message;
}

/**
 * The numbers that the server has given to a message, in the order of `names`; undefined where there is none. The server
 * counts each name once.
 * @param {readonly string[]} names
 * @param {Message | undefined} ack
 */
export function publishedIds(names, ack) {
  const ids = ack?.header("message-id")?.split(" ") ?? [];
  const channels = [...new Set(names)];
  return names.map((name) => {
    const id = ids[channels.indexOf(name)];
    return id === "-" ? undefined : id;
  });
}

/**
 * The message in its wire form: a string for a text frame, bytes for a binary one.
 * @param {string} command
 * @param {readonly import("./headers.js").Header[]} headers Checked pairs.
 * @param {import("../index.d.ts").Body} [body]
 * @returns {string | Uint8Array}
 */
export function encodeMessage(command, headers, body = "") {
  if (typeof command !== "string" || !COMMAND_FORM.test(command)) {
    const sentence = `a command is 1 to 64 visible ASCII characters, not ${JSON.stringify(command)}`;
    throw new LhttpError(400, "bad-start-line", sentence);
  }
  const parts = body instanceof Multipart ? body : undefined;
  const all = parts ? [...headers, headerPair("multipart", parts.offsets)] : headers;
  const content = parts ? parts.body : body;
  const head = `${VERSION} ${command}\r\n${headerLines(all)}\r\n`;
  if (typeof content === "string") return head + content;
  const bytes = asBytes(content);
  if (bytes === undefined) throw new LhttpError(400, "bad-body", "a body is a string, bytes or what multipart() gives");
  return joinBytes(encodeText(head), bytes);
}

/**
 * Reads a received payload; undefined if it is not LHTTP.
 * @param {string | Uint8Array} data
 * @returns {Message | undefined}
 */
export function decodeMessage(data) {
  if (typeof data === "string") {
    const end = data.indexOf(HEAD_END);
    return end < 0 ? undefined : readHead(data.slice(0, end), data.slice(end + HEAD_END.length));
  }
  const end = headEnd(data);
  return end < 0 ? undefined : readHead(decodeText(data.subarray(0, end)), data.subarray(end + HEAD_END.length));
}

/**
 * @param {string} head
 * @param {string | Uint8Array} body
 */
function readHead(head, body) {
  const [start, ...lines] = head.split("\r\n");
  if (!start.startsWith(`${VERSION} `)) return undefined;
  return new Message(start.slice(VERSION.length + 1), readHeaders(lines), body);
}

/**
 * Where the empty line behind the head starts, or -1.
 * @param {Uint8Array} bytes
 */
function headEnd(bytes) {
  for (let at = bytes.indexOf(13); at >= 0; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}
