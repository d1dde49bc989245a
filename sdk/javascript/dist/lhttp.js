// lhttp-client 0.1.0, MIT. Made from src/ by build.js: change it there.
(function (target) {
"use strict";

/** An operation that failed: refused by the server, or not possible. */
class LhttpError extends Error {
  /**
   * @param {number} code The server's code (PROTOCOL.md §6), the code that it would have sent, or 0 if it was never
   * asked.
   * @param {string} reason One fixed word for programs.
   * @param {string} message One sentence for people.
   * @param {ErrorOptions} [options]
   */
  constructor(code, reason, message, options) {
    super(message, options);
    this.name = "LhttpError";
    this.code = code;
    this.reason = reason;
  }
}

/**
 * The error of a subscription that was live before.
 * @param {{ name: string }} subscription
 * @param {LhttpError} error
 */
function notAgain({ name }, error) {
  const sentence = `${JSON.stringify(name)} could not be subscribed to again: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}

/**
 * The error of a subscription whose listeners are not told who is there.
 * @param {{ name: string }} subscription
 * @param {any} error
 */
function notPresent({ name }, error) {
  const sentence = `it is not known who is in ${JSON.stringify(name)}: ${error.message}`;
  return new LhttpError(error.code ?? 400, error.reason ?? "bad-body", sentence, { cause: error });
}

/**
 * The error of a subscription that the server has ended.
 * @param {{ name: string }} subscription
 * @param {LhttpError} error
 */
function endedBy({ name }, error) {
  const sentence = `the server has ended the subscription to ${JSON.stringify(name)}: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}

// UTF-8 for environments without TextEncoder or TextDecoder (jsdom under Jest, old React Native), with the same
// results.

const REPLACEMENT = 0xfffd;

/** The number of code units for one call of `String.fromCharCode`: engines bound the number of arguments. */
const UNITS_AT_ONCE = 8192;

/**
 * @param {string} text
 * @returns {Uint8Array}
 */
function encodeUtf8(text) {
  // A code unit takes at most three bytes, a pair of them four.
  const bytes = new Uint8Array(text.length * 3);
  let length = 0;
  for (const character of text) {
    let code = /** @type {number} */ (character.codePointAt(0));
    if (code >= 0xd800 && code < 0xe000) code = REPLACEMENT;
    if (code < 0x80) {
      bytes[length++] = code;
      continue;
    }
    const trail = code < 0x800 ? 1 : code < 0x1_0000 ? 2 : 3;
    bytes[length++] = [0, 0xc0, 0xe0, 0xf0][trail] | (code >> (6 * trail));
    for (let left = trail - 1; left >= 0; left -= 1) bytes[length++] = 0x80 | ((code >> (6 * left)) & 0x3f);
  }
  return bytes.slice(0, length);
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
function decodeUtf8(bytes) {
  let text = "";
  /** @type {number[]} */
  let units = [];
  for (let at = 0; at < bytes.length;) {
    const { code, length } = readCharacter(bytes, at);
    at += length;
    if (code < 0x1_0000) units.push(code);
    else units.push(0xd800 + ((code - 0x1_0000) >> 10), 0xdc00 + ((code - 0x1_0000) & 0x3ff));
    if (units.length >= UNITS_AT_ONCE) {
      text += String.fromCharCode(...units);
      units = [];
    }
  }
  return text + String.fromCharCode(...units);
}

/**
 * The character at `at`. Invalid UTF-8 becomes one replacement character for each longest start of a sequence (the
 * Encoding Standard's "maximal subpart").
 * @param {Uint8Array} bytes
 * @param {number} at
 */
function readCharacter(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return { code: first, length: 1 };
  const trail =
    first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
  let code = first & (0x3f >> trail);
  for (let index = 1; index <= trail; index += 1) {
    const byte = bytes[at + index];
    const [least, most] = index === 1 ? secondByte(first) : [0x80, 0xbf];
    if (!(byte >= least && byte <= most)) return { code: REPLACEMENT, length: index };
    code = (code << 6) | (byte & 0x3f);
  }
  return trail === 0 ? { code: REPLACEMENT, length: 1 } : { code, length: trail + 1 };
}

/**
 * The bytes that may follow this byte: no longer form than needed, no surrogate, nothing past U+10FFFF.
 * @param {number} first
 */
function secondByte(first) {
  if (first === 0xe0) return [0xa0, 0xbf];
  if (first === 0xed) return [0x80, 0x9f];
  if (first === 0xf0) return [0x90, 0xbf];
  if (first === 0xf4) return [0x80, 0x8f];
  return [0x80, 0xbf];
}

// Strings and bytes: LHTTP counts in UTF-8, JavaScript in UTF-16.


/** Made when first needed: a test's environment may get them after this module. @type {TextEncoder | undefined} */
let encoder;
/** @type {TextDecoder | undefined} */
let decoder;

/**
 * The UTF-8 bytes of `text`; half a surrogate pair becomes U+FFFD, as it does when a WebSocket sends it.
 * @param {string} text
 */
function encodeText(text) {
  if (typeof TextEncoder !== "function") return encodeUtf8(text);
  encoder ??= new TextEncoder();
  return encoder.encode(text);
}

/**
 * The text of UTF-8 bytes. Invalid UTF-8 becomes U+FFFD, and a byte order mark stays.
 * @param {Uint8Array} bytes
 */
function decodeText(bytes) {
  if (typeof TextDecoder !== "function") return decodeUtf8(bytes);
  decoder ??= new TextDecoder("utf-8", { ignoreBOM: true });
  return decoder.decode(bytes);
}

/**
 * How many bytes `text` has in UTF-8.
 * @param {string} text
 */
function utf8Length(text) {
  let length = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      length += 1;
    } else if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(at + 1))) {
      // A pair: four bytes for two units.
      length += 2;
      at += 1;
    } else {
      length += 2;
    }
  }
  return length;
}

/**
 * How many bytes `data` has on the wire.
 * @param {string | Uint8Array} data
 */
function byteLength(data) {
  return typeof data === "string" ? utf8Length(data) : data.length;
}

/** @param {number} unit */
function isLowSurrogate(unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

/**
 * `body` as bytes, if it is something that holds bytes.
 * @param {unknown} body
 * @returns {Uint8Array | undefined}
 */
function asBytes(body) {
  if (body instanceof Uint8Array) return body;
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  // Not instanceof: a page's frames and a vm's contexts each have their own ArrayBuffer.
  if (Object.prototype.toString.call(body) === "[object ArrayBuffer]") {
    return new Uint8Array(/** @type {ArrayBuffer} */ (body));
  }
  return undefined;
}

/**
 * @param {...Uint8Array} pieces
 * @returns {Uint8Array}
 */
function joinBytes(...pieces) {
  const joined = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

// Channels and patterns (PROTOCOL.md §2): their syntax, and the matching of a pattern with a channel.


/** The longest channel or pattern, in bytes of UTF-8. */
const CHANNEL_BYTES_MAX = 255;
/** The most characters of a refused name that its error sentence shows. */
const SHOWN_CHARACTERS_MAX = 64;

/**
 * Refuses a name that cannot be published to.
 * @param {string} name
 */
function checkPublish(name) {
  const flaw = flawOf(name) ?? (isPattern(name) ? "has a wildcard: patterns are for subscribing only" : undefined);
  if (flaw) throw refusal(name, flaw);
}

/**
 * Refuses a name that cannot be subscribed to.
 * @param {string} name
 */
function checkSubscribe(name) {
  const flaw = flawOf(name) ?? (hasTailInside(name) ? 'has a ">" that is not its last token' : undefined);
  if (flaw) throw refusal(name, flaw);
}

/**
 * Whether a whole token of `name` is a wildcard.
 * @param {string} name
 */
function isPattern(name) {
  return name.split(".").some((token) => token === "*" || token === ">");
}

/**
 * Whether `pattern` matches `channel`, both split into tokens. A pattern without wildcards matches only itself.
 * @param {readonly string[]} pattern
 * @param {readonly string[]} channel
 */
function matches(pattern, channel) {
  for (let at = 0; at < pattern.length; at += 1) {
    if (at >= channel.length) return false;
    if (pattern[at] === ">" && at === pattern.length - 1) return true;
    if (pattern[at] !== "*" && pattern[at] !== channel[at]) return false;
  }
  return pattern.length === channel.length;
}

/**
 * The names in the value of a `subscribe`, `publish` or `unsubscribe` header.
 * @param {string} value
 */
function splitNames(value) {
  return value.split(/[ \t]+/).filter((name) => name !== "");
}

/**
 * @param {string} name
 * @returns {string | undefined}
 */
function flawOf(name) {
  if (typeof name !== "string") return "is not a string";
  if (name === "") return "is empty";
  const length = utf8Length(name);
  if (length > CHANNEL_BYTES_MAX) return `has ${length} bytes, more than ${CHANNEL_BYTES_MAX}`;
  if (name.includes(" ")) return "has a space";
  // eslint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(name)) return "has a control character";
  if (name.split(".").includes("")) return "has an empty token";
  return undefined;
}

/** @param {string} name */
function hasTailInside(name) {
  return name.split(".").slice(0, -1).includes(">");
}

/**
 * @param {string} name
 * @param {string} flaw
 */
function refusal(name, flaw) {
  const shown = [...String(name)];
  const text = shown.length > SHOWN_CHARACTERS_MAX ? `${shown.slice(0, SHOWN_CHARACTERS_MAX).join("")}…` : String(name);
  return new LhttpError(400, "bad-channel", `channel ${JSON.stringify(text)} ${flaw}`);
}

/** Listeners by event; those of one event are called in the order in which they were added. */
class Emitter {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();

  /**
   * Calls `listener` on each such event, until the returned function is called.
   * @param {string} event
   * @param {(event: any) => void} listener
   * @returns {() => void}
   */
  on(event, listener) {
    // Wrapped, so that a function that is added twice is called twice, and each is removed separately.
    const own = (/** @type {any} */ value) => listener(value);
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Set()));
    listeners.add(own);
    return () => void listeners.delete(own);
  }

  /** @param {string} event */
  has(event) {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  /**
   * Calls all listeners. One that throws does not prevent the others.
   * @param {string} event
   * @param {any} value
   */
  emit(event, value) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}

/**
 * Throws outside our own calls: to `window.onerror` or `uncaughtException`, as from any event handler.
 * @param {unknown} error
 */
function throwLater(error) {
  setTimeout(() => {
    throw error;
  }, 0);
}

/** Past this many attempts the wait has its maximum, whatever that is. */
const DOUBLINGS_MAX = 40;

/** The longest time, in milliseconds, in which a server can ask its clients to come back. */
const TOLD_MAX = 600_000;

/**
 * Exponential back-off with full jitter: the n-th wait is any time between 0 and `initial * 2^n`, at most `max`. So the
 * clients that lost a server at the same moment come back spread over the whole time.
 */
class Backoff {
  /**
   * @param {{ initial: number, max: number, random: () => number }} options Milliseconds.
   */
  constructor({ initial, max, random }) {
    this.initial = initial;
    this.max = max;
    this.random = random;
    /** The number of waits since the last reset. */
    this.attempts = 0;
    /** The server asked its clients to come back within this time, in milliseconds. It counts for the next wait. */
    this.told = 0;
  }

  /**
   * The next wait, in milliseconds.
   * @param {boolean} [wasRefused] The server will refuse again: the wait is at least half of its maximum.
   */
  next(wasRefused = false) {
    const usual = Math.min(this.max, this.initial * 2 ** Math.min(this.attempts, DOUBLINGS_MAX));
    const ceiling = Math.max(usual, Math.min(this.told, TOLD_MAX));
    this.attempts += 1;
    this.told = 0;
    const share = this.share();
    return Math.round(ceiling * (wasRefused ? (1 + share) / 2 : share));
  }

  reset() {
    this.attempts = 0;
  }

  /** The caller's random number; our own if theirs throws or is invalid, because the next attempt must come. */
  share() {
    try {
      const share = this.random();
      if (share >= 0 && share <= 1) return share;
      throwLater(new TypeError(`random is to give a number from 0 to 1, not ${String(share)}`));
    } catch (error) {
      throwLater(error);
    }
    return Math.random();
  }
}

// Time limits that survive a program that stands still: a page that computes, a process that is stopped.
//
// Data that arrived while the event loop stood still waits in the socket, and a due timer may fire before the data is
// read. So a time limit is cut into two slices: a stall, however long, uses up one of them, and the loop has the other
// one to read.

/** The number of slices of a time limit. */
const SLICES = 2;

/** Late slices are not counted, but at most this many times: a loop that always lags still has time limits. */
const LATE_SLICES_MAX = 3;

/** A slice is late if it took half as long again, or this many milliseconds longer, whichever is more. */
const LATE_MIN = 50;

/** Milliseconds of a monotonic clock, if there is one. */
function now() {
  return typeof performance === "undefined" ? Date.now() : performance.now();
}

/**
 * Calls `expired` after `time` milliseconds in which the event loop ran.
 * @param {number} time
 * @param {() => void} expired
 * @returns {() => void} Cancels it: `expired` is not called any more.
 */
function deadline(time, expired) {
  const slice = time / SLICES;
  const lateAfter = slice + Math.max(LATE_MIN, slice / 2);
  let counted = 0;
  let late = 0;
  /** @type {() => void} */
  let cancel;
  const arm = () => {
    const start = now();
    const timer = setTimeout(() => {
      if (now() - start > lateAfter && late < LATE_SLICES_MAX) late += 1;
      else counted += 1;
      if (counted < SLICES) arm();
      else cancel = afterReading(expired);
    }, slice);
    cancel = () => clearTimeout(timer);
  };
  arm();
  return () => cancel();
}

/**
 * Calls `then` once the event loop has polled the sockets again. In Node only `setImmediate` guarantees that: timers
 * may follow each other without a poll between them.
 * @param {() => void} then
 * @returns {() => void} Cancels it.
 */
function afterReading(then) {
  const { setImmediate, clearImmediate } = /** @type {any} */ (globalThis);
  if (typeof setImmediate === "function") {
    const immediate = setImmediate(then);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(then);
  return () => clearTimeout(timer);
}

// One WebSocket: how to create it, and how to end it without its peer.


/** Where Node keeps the dispatcher of its own WebSocket and `fetch`. */
const NODES_DISPATCHER = Symbol.for("undici.globalDispatcher.1");

/** @typedef {WebSocket & { terminate?: () => void }} Socket */

/**
 * Functions that end a connection of Node's own WebSocket, once it is made.
 * @type {WeakMap<object, () => void>}
 */
const ends = new WeakMap();

/**
 * @param {{ url: string | URL, protocols: string | string[] | undefined }} target
 * @param {import("./options.js").Options} options
 * @returns {Socket}
 */
function openSocket({ url, protocols }, { WebSocket }) {
  if (isNodesOwn(WebSocket)) return openNodesOwn(WebSocket, url, protocols);
  return protocols === undefined ? new WebSocket(url) : new WebSocket(url, protocols);
}

/**
 * Ends a socket without waiting for its peer, as far as possible: a browser does that itself.
 * @param {Socket} socket
 */
function abandon(socket) {
  try {
    if (typeof socket.terminate === "function") return socket.terminate();
    // This ends a socket that is still connecting. An open socket's connection stays until the peer answers.
    socket.close();
    ends.get(socket)?.();
  } catch (error) {
    throwLater(error);
  }
}

/**
 * Ends a socket in order, or without its peer if that does not answer within `time` milliseconds. That time alone does
 * not keep a process alive.
 * @param {Socket} socket
 * @param {number} time
 */
function closeSocket(socket, time) {
  /** @type {any} A number in browsers. */
  const timer = setTimeout(() => abandon(socket), time);
  timer.unref?.();
  // Nobody else listens any more.
  socket.onerror = () => {};
  socket.onclose = () => clearTimeout(timer);
  try {
    socket.close(1000);
  } catch (error) {
    throwLater(error);
  }
}

/** @param {unknown} given */
function isNodesOwn(given) {
  const { process, WebSocket } = /** @type {any} */ (globalThis);
  return given === WebSocket && process?.versions?.undici !== undefined && nodesDispatcher() !== undefined;
}

function nodesDispatcher() {
  return /** @type {any} */ (globalThis)[NODES_DISPATCHER];
}

/**
 * Node's own WebSocket has no `terminate`, and after a close it waits for its peer for ever. So this function notes the
 * connection below it when it is made: the WebSocket accepts a dispatcher beside the subprotocols.
 * @param {any} WebSocket
 * @param {string | URL} url
 * @param {string | string[] | undefined} protocols
 * @returns {Socket}
 */
function openNodesOwn(WebSocket, url, protocols = []) {
  /** @param {any} connection */
  const connected = (connection) => ends.set(socket, () => connection.destroy());
  const dispatcher = {
    dispatch: (/** @type {any} */ options, /** @type {any} */ handler) =>
      nodesDispatcher().dispatch(options, noting(handler, connected)),
  };
  const socket = new WebSocket(url, { protocols, dispatcher });
  return socket;
}

/**
 * A dispatcher's handler that also reports the connection of a WebSocket.
 * @param {any} handler
 * @param {(connection: { destroy(): void }) => void} connected
 */
function noting(handler, connected) {
  // One name or the other, depending on the version of undici. The connection is the last argument of both.
  for (const name of ["onUpgrade", "onRequestUpgrade"]) {
    const upgrade = handler[name];
    if (typeof upgrade !== "function") continue;
    handler[name] = (/** @type {any[]} */ ...given) => {
      const connection = given[given.length - 1];
      if (typeof connection?.destroy === "function") connected(connection);
      return upgrade.apply(handler, given);
    };
  }
  return handler;
}

// One WebSocket after the other: connects, watches, and reconnects.


/** After a connection of this length, in milliseconds, the next loss counts as the first one. */
const STABLE_TIME = 5_000;

const OPEN = 1;

/** The close code of a connection that ended without a close frame (RFC 6455 §7.1.5). */
const NOT_CLOSED = 1006;

/**
 * The close codes with which the server blames this client: a protocol error, data that it does not accept, a policy, a
 * message that is too big, a missing extension (RFC 6455 §7.4.1). It would close again for the same.
 */
const REFUSALS = [1002, 1003, 1007, 1008, 1009, 1010];

/** The reason of a 1008 that blames no message: the client was silent for the server's `idle-timeout`. */
const IDLE = /\bidle\b/i;

/** The close code and reason of a server that restarts: its clients come back within this many milliseconds. */
const GOING_AWAY = 1001;
const RESTART = /^restart:(\d{1,9})$/;

/** How the package `ws` reports an answer that refuses the handshake. Browsers and Node's own WebSocket do not tell. */
const REFUSED_HANDSHAKE = /\bserver response: (\d{3})\b/;

/**
 * @typedef {object} Loss How a connection ended.
 * @property {number} [code] The close code, if there was a close event.
 * @property {string} [reason] The server's reason.
 * @property {number} [status] The HTTP status with which the server refused the handshake, if the WebSocket tells.
 */

/**
 * @typedef {object} Hooks
 * @property {(token: string | undefined) => void} opened The socket is open, with this token; call `ready()` once it
 * may be used.
 * @property {(data: string | Uint8Array) => void} received
 * @property {() => void} silent Nothing was received for the heartbeat's interval: send a message that will be
 * answered.
 * @property {(error: LhttpError, loss: Loss) => void} lost The socket was open and is gone, or there will be none.
 * @property {(change: import("../index.d.ts").StateChange) => void} changed
 */

/** A connection that reconnects. */
class Connection {
  #access;
  #options;
  #hooks;
  #backoff;
  /** @type {import("./socket.js").Socket | undefined} */
  #socket = undefined;
  /** Whether `opened` was called for this socket, but not `lost`. */
  #isUp = false;
  /** Counts attempts, to recognise the answer to an old one. */
  #attempt = 0;
  /** @type {string | undefined} The token of this connection's handshake. */
  #token = undefined;
  /** Whether this connection has held long enough. */
  #isStable = false;
  /** On a monotonic clock. */
  #heardAt = 0;
  /** The number of frames received, on all sockets. The clock cannot tell whether a frame came, because it may stand still. */
  #heard = 0;
  /** Stops the timer of the current state: the connect timeout, the wait, or the time until a connection has held. */
  #stopStateTimer = () => {};
  #stopHeartbeat = () => {};
  #removeListeners = () => {};
  /** @type {import("../index.d.ts").State} */
  state = "connecting";
  /** @type {number | undefined} When the next attempt starts, in milliseconds since 1970, while `waiting`. */
  retryAt = undefined;

  /**
   * @param {import("./token.js").Access} access
   * @param {import("./options.js").Options} options
   * @param {Hooks} hooks
   */
  constructor(access, options, hooks) {
    this.#access = access;
    this.#options = options;
    this.#hooks = hooks;
    this.#backoff = new Backoff({ ...options.backoff, random: options.random });
    // A WebSocket that cannot even be created (a bad URL, a page's policy) throws to the caller of `connect`.
    if (access.known) this.#use(openSocket(access.known, options));
    else void this.#ask();
    this.#listen();
  }

  /** Whether the socket takes messages, even if only to renew subscriptions. */
  get isUp() {
    return this.#isUp && this.#socket?.readyState === OPEN;
  }

  /** The bytes in the socket's send buffer. */
  get bufferedBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** @param {string | Uint8Array} data */
  send(data) {
    /** @type {import("./socket.js").Socket} */ (this.#socket).send(/** @type {string} */ (data));
  }

  /** Everything that must come first has been done. */
  ready() {
    this.#become({ state: "open" });
  }

  /**
   * Gives this socket up as if it were lost.
   * @param {string} why
   */
  drop(why) {
    this.#down(why);
  }

  /** Checks the connection after a pause: a tab that wakes up, a network that is back. */
  wake() {
    if (this.state === "waiting") {
      this.#connect();
    } else if (this.#isUp && this.#options.heartbeat.interval > 0) {
      this.#probe();
    }
  }

  close() {
    if (this.state === "closed") return;
    this.#removeListeners();
    const socket = this.#release();
    this.#become({ state: "closed" });
    if (socket) closeSocket(socket, this.#options.closeTimeout);
  }

  #connect() {
    this.#stopStateTimer();
    this.#become({ state: "connecting" });
    // A listener may have closed the client.
    if (this.#isClosed()) return;
    if (this.#access.known) this.#open(this.#access.known);
    else void this.#ask();
  }

  /** Asks the program where to connect and with which token. If it does not tell, that is a failed attempt. */
  async #ask() {
    const attempt = this.#attempt;
    try {
      const target = await this.#access.ask();
      if (attempt !== this.#attempt) return;
      this.#token = target.token;
      this.#open(target);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#down(/** @type {Error} */ (error).message, {}, /** @type {LhttpError} */ (error));
    }
  }

  /** @param {{ url: string | URL, protocols: string | string[] | undefined }} target */
  #open(target) {
    let socket;
    try {
      socket = openSocket(target, this.#options);
    } catch (error) {
      // The first attempt could create it, so this counts as a failed attempt, like one that the network refuses.
      return this.#down(`no connection: ${/** @type {Error} */ (error)?.message ?? error}`);
    }
    this.#use(socket);
  }

  /** @param {import("./socket.js").Socket} socket */
  #use(socket) {
    const { connectTimeout } = this.#options;
    this.#socket = socket;
    this.#stopStateTimer = deadline(connectTimeout, () => this.#down(`no connection within ${connectTimeout} ms`));
    socket.binaryType = "arraybuffer";
    // A socket that was given up may still call back, but is no longer ours.
    socket.onopen = () => void (this.#socket === socket && this.#up());
    socket.onmessage = ({ data }) => void (this.#socket === socket && this.#received(data));
    // Browsers do not say what went wrong, other WebSockets do. Node's own does not fire `close` after `error` for a
    // connection that was not made (nodejs/undici#3546); the others do. The code is the one that they would report.
    let fault = "";
    socket.onerror = (event) => {
      fault = /** @type {ErrorEvent} */ (event).message ?? "";
      if (this.#socket !== socket || this.#isUp) return;
      this.#notMade(fault);
    };
    socket.onclose = ({ code, reason }) => {
      const why = reason || fault;
      if (this.#socket !== socket) return;
      if (!this.#isUp && code === NOT_CLOSED) return this.#notMade(why);
      this.#down(`closed with ${code}${why ? ` (${why})` : ""}`, { code, reason });
    };
  }

  /**
   * The connection could not be made.
   * @param {string} fault
   */
  #notMade(fault) {
    const status = Number(REFUSED_HANDSHAKE.exec(fault)?.[1] ?? NaN);
    const loss = { code: NOT_CLOSED, status };
    const why = `no connection${fault ? `: ${fault}` : ""}`;
    const hasToken = this.#token !== undefined;
    if (status === 401) {
      if (hasToken) this.#access.refused();
      const sentence = hasToken ? "the server refuses the token" : "the server requires a token";
      return this.#down(why, loss, new LhttpError(401, "unauthorized", `${sentence} (${fault})`));
    }
    if (status === 403)
      return this.#down(why, loss, new LhttpError(403, "forbidden", `the server refuses this client (${fault})`));
    if (!hasToken || status > 0) return this.#down(why, loss);
    // Perhaps the token was refused. A new one does no harm if the cause was another.
    this.#access.refused();
    this.#down(`${why} (whether the server refused the token cannot be seen here)`, loss);
  }

  #up() {
    this.#stopStateTimer();
    this.#stopStateTimer = deadline(STABLE_TIME, () => (this.#isStable = true));
    this.#isUp = true;
    this.#heardAt = now();
    this.#watch();
    this.#access.accepted();
    this.#hooks.opened(this.#token);
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heardAt = now();
    this.#heard += 1;
    if (typeof data === "string") return this.#hooks.received(data);
    const bytes = asBytes(data);
    if (bytes) this.#hooks.received(bytes);
  }

  /**
   * @param {string} why
   * @param {Loss} [loss]
   * @param {LhttpError} [cause] An error that says more.
   */
  #down(why, loss = {}, cause = undefined) {
    const wasUp = this.#isUp;
    const wasRefused = isRefusal(loss);
    if (this.#isStable && !wasRefused) this.#backoff.reset();
    this.#backoff.told = returnTime(loss);
    const socket = this.#release();
    if (socket) abandon(socket);
    const error = cause ?? new LhttpError(0, "connection-lost", wasUp ? `the connection is lost: ${why}` : why);
    // Change the state first, so that the actions of `lost` find no connection.
    if (this.#options.reconnect) {
      this.#wait(error, loss.code, wasRefused);
    } else {
      this.#removeListeners();
      this.#become({ state: "closed", error, closeCode: loss.code });
    }
    if (wasUp || !this.#options.reconnect) this.#hooks.lost(error, loss);
  }

  /**
   * @param {LhttpError} error
   * @param {number | undefined} closeCode
   * @param {boolean} wasRefused
   */
  #wait(error, closeCode, wasRefused) {
    const retryIn = this.#backoff.next(wasRefused);
    const timer = setTimeout(() => this.#connect(), retryIn);
    this.#stopStateTimer = () => clearTimeout(timer);
    this.#become({ state: "waiting", retryIn, attempt: this.#backoff.attempts, error, closeCode });
  }

  #isClosed() {
    return this.state === "closed";
  }

  /** Drops the socket and its timers. */
  #release() {
    this.#stopStateTimer();
    this.#stopHeartbeat();
    const socket = this.#socket;
    this.#socket = undefined;
    this.#attempt += 1;
    this.#token = undefined;
    this.#isUp = this.#isStable = false;
    return socket;
  }

  /** @param {import("../index.d.ts").StateChange} change */
  #become(change) {
    this.retryAt = change.retryIn === undefined ? undefined : Date.now() + change.retryIn;
    if (this.state === change.state && change.state !== "waiting") return;
    this.state = change.state;
    this.#hooks.changed(change);
  }

  /** Detects a silent connection (a browser's socket has no ping). */
  #watch() {
    const { interval } = this.#options.heartbeat;
    if (interval === 0) return;
    const left = this.#heardAt + interval - now();
    if (left <= 0) return this.#probe();
    this.#stopHeartbeat();
    const timer = setTimeout(() => this.#watch(), left);
    this.#stopHeartbeat = () => clearTimeout(timer);
  }

  #probe() {
    const { timeout } = this.#options.heartbeat;
    const before = this.#heard;
    this.#stopHeartbeat();
    this.#stopHeartbeat = deadline(timeout, () => {
      if (this.#heard > before) return this.#watch();
      this.#down(`no answer within ${timeout} ms`);
    });
    this.#hooks.silent();
  }

  /** A browser's events for its network and the tab. */
  #listen() {
    const { window = undefined, document = undefined } = /** @type {any} */ (globalThis);
    if (typeof window?.addEventListener !== "function") return;
    const online = () => this.wake();
    const visible = () => void (document?.visibilityState === "visible" && this.wake());
    window.addEventListener("online", online);
    document?.addEventListener("visibilitychange", visible);
    this.#removeListeners = () => {
      window.removeEventListener("online", online);
      document?.removeEventListener("visibilitychange", visible);
    };
  }
}

/**
 * Whether the server has closed the connection because of this client.
 * @param {Loss} loss
 */
function isRefusal({ code, reason, status }) {
  if (status === 401 || status === 403) return true;
  return code !== undefined && REFUSALS.includes(code) && !IDLE.test(reason ?? "");
}

/**
 * The time in which the server asked its clients to come back, in milliseconds: 0 if it did not.
 * @param {Loss} loss
 */
function returnTime({ code, reason }) {
  return code === GOING_AWAY ? Number(RESTART.exec(reason ?? "")?.[1] ?? 0) : 0;
}

// Messages that exceed a server's limit: it closes the connection with 1009, and would do so again.


/** The close code for a message that is too big (RFC 6455 §7.4.1). */
const TOO_BIG = 1009;

/** The word of an error for a message that is too big. */
const MESSAGE_TOO_BIG = "message-too-big";

/**
 * @param {number} bytes
 * @param {number | undefined} bytesMax The limit, if it is known.
 */
function tooBig(bytes, bytesMax) {
  const limit =
    bytesMax === undefined ? "the server has closed the connection for its size (1009)" : `more than ${bytesMax}`;
  return new LhttpError(413, MESSAGE_TOO_BIG, `a message of ${bytes} bytes, ${limit}`);
}

/**
 * The limit that the server names beside the code: a reason that is a number, or that names a number of bytes. If it
 * also names the message's size, that is the larger number.
 * @param {import("./connection.js").Loss} loss
 * @returns {number | undefined}
 */
function toldLimit({ code, reason = "" }) {
  if (code !== TOO_BIG) return undefined;
  const numbers = /^\d+$/.test(reason) ? [reason] : (reason.match(/\d+(?= bytes)/g) ?? []);
  const limits = numbers.map(Number).filter((number) => number > 0 && number !== TOO_BIG);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

/**
 * The messages in flight that the connection ended for: all over the limit, if the server names it. Otherwise the
 * largest: if any was too big, it was. The others may be sent again; each time at least one fewer is left.
 * @template {{ bytes: number }} T
 * @param {import("./connection.js").Loss} loss How the connection ended.
 * @param {readonly T[]} unanswered
 * @param {number} unheardBytes The size of the largest message without an answer: perhaps that was too big.
 * @returns {Set<T> & { bytesMax?: number }}
 */
function overLimit(loss, unanswered, unheardBytes) {
  if (loss.code !== TOO_BIG) return new Set();
  const bytesMax = toldLimit(loss);
  const largest = unanswered.reduce((most, { bytes }) => Math.max(most, bytes), unheardBytes);
  const isOver = (/** @type {T} */ { bytes }) => (bytesMax === undefined ? bytes === largest : bytes > bytesMax);
  return Object.assign(new Set(unanswered.filter(isOver)), { bytesMax });
}

// Messages and their answers: acknowledgements, replies, and the queue of messages that cannot be sent yet.


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

class Exchange {
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

function closed() {
  return new LhttpError(0, "closed", "the client is closed");
}

// Header lines, of messages and of their parts (PROTOCOL.md §1 and §4).


/** @typedef {[name: string, value: string]} Header */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/**
 * Converts a caller's headers to pairs of strings. Refuses invalid headers, above all a CR or LF in a value, which
 * would start another line.
 * @param {import("../index.d.ts").HeadersInit | null | undefined} headers
 * @returns {Header[]}
 */
function headerPairs(headers) {
  if (headers === undefined || headers === null) return [];
  const iterable = Symbol.iterator in headers;
  /** @type {Iterable<readonly [string, unknown]>} */
  const given = iterable
    ? /** @type {Iterable<readonly [string, string]>} */ (headers)
    : Object.entries(/** @type {object} */ (headers));
  /** @type {Header[]} */
  const pairs = [];
  for (const [name, value] of given) {
    // A list repeats the header; undefined leaves it out, which spares callers a condition.
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) pairs.push(headerPair(name, one));
    }
  }
  return pairs;
}

/**
 * A caller's headers. Refuses those that the client sets itself.
 * @param {import("../index.d.ts").HeadersInit | null | undefined} headers
 * @param {readonly string[]} taken
 */
function callersHeaders(headers, taken) {
  const pairs = headerPairs(headers);
  for (const [name] of pairs) {
    if (taken.includes(name.toLowerCase())) {
      throw new LhttpError(400, "bad-header", `the client sets the header "${name}" itself`);
    }
  }
  return pairs;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {Header}
 */
function headerPair(name, value) {
  if (typeof name !== "string" || !TOKEN.test(name)) {
    throw new LhttpError(400, "bad-header", `a header's name is 1 to 64 token characters, not ${JSON.stringify(name)}`);
  }
  const text = String(value);
  if (CONTROL.test(text)) {
    throw new LhttpError(400, "bad-header", `the value of header "${name}" has a control character`);
  }
  return [name, text];
}

/** @param {readonly Header[]} headers */
function headerLines(headers) {
  return headers.map(([name, value]) => `${name}:${value}\r\n`).join("");
}

/**
 * The headers in these lines, values trimmed. A line without a colon is left out: the server never forwards one.
 * @param {readonly string[]} lines
 * @returns {Header[]}
 */
function readHeaders(lines) {
  /** @type {Header[]} */
  const headers = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.push([line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "")]);
  }
  return headers;
}

/**
 * The first header of this name, in any case.
 * @param {readonly Header[]} headers
 * @param {string} name
 */
function findHeader(headers, name) {
  const wanted = name.toLowerCase();
  return headers.find(([other]) => other.toLowerCase() === wanted)?.[1];
}

// Multipart bodies (PROTOCOL.md §4): parts cut at byte offsets. Only this module computes the offsets.


const CR = 13;
const LF = 10;

/** A body of several parts, to be published or sent. The client adds the `multipart` header. */
class Multipart {
  /**
   * @param {string} offsets
   * @param {string | Uint8Array} body
   */
  constructor(offsets, body) {
    /** The value of the `multipart` header. */
    this.offsets = offsets;
    this.body = body;
  }
}

/**
 * Joins parts. The body is text if each part's is, otherwise bytes.
 * @param {Iterable<import("../index.d.ts").PartInit>} parts
 */
function multipart(parts) {
  /** @type {{ head: string, body: string | Uint8Array }[]} */
  const pieces = [];
  for (const { headers, body = "" } of parts) {
    const content = typeof body === "string" ? body : asBytes(body);
    if (content === undefined) throw bad("a part's body is a string or bytes");
    pieces.push({ head: `${headerLines(headerPairs(headers))}\r\n`, body: content });
  }
  if (pieces.length === 0) throw bad("there is no part");
  const offsets = [];
  let at = 0;
  for (const { head, body } of pieces) {
    offsets.push(at);
    at += utf8Length(head) + (typeof body === "string" ? utf8Length(body) : body.length);
  }
  return new Multipart(offsets.join(" "), joinPieces(pieces));
}

/** @param {{ head: string, body: string | Uint8Array }[]} pieces */
function joinPieces(pieces) {
  if (pieces.every(({ body }) => typeof body === "string")) {
    // Piece by piece: half a surrogate pair at an end must not meet its other half, because the offsets count the two
    // separately.
    const texts = pieces.map(({ head, body }) => head + wellFormed(/** @type {string} */ (body)));
    return texts.join("");
  }
  return joinBytes(
    ...pieces.flatMap(({ head, body }) => [encodeText(head), typeof body === "string" ? encodeText(body) : body]),
  );
}

/** @param {string} text */
function wellFormed(text) {
  return decodeText(encodeText(text));
}

/** One part of a received message. */
class Part {
  /**
   * @param {import("./headers.js").Header[]} headers
   * @param {Uint8Array} bytes
   * @param {boolean} isText
   */
  constructor(headers, bytes, isText) {
    this.headers = headers;
    this.body = isText ? decodeText(bytes) : bytes;
  }

  /**
   * The first header of this name, in any case.
   * @param {string} name
   */
  header(name) {
    return findHeader(this.headers, name);
  }

  /** The body as text. */
  text() {
    return typeof this.body === "string" ? this.body : decodeText(this.body);
  }

  /** The body as bytes. */
  bytes() {
    return typeof this.body === "string" ? encodeText(this.body) : this.body;
  }
}

/**
 * The parts of `bytes`, cut at the offsets in a `multipart` header's value.
 * @param {string} offsets
 * @param {Uint8Array} bytes
 * @param {boolean} isText Whether the parts' bodies are returned as text.
 * @throws {LhttpError} `bad-multipart`
 */
function readMultipart(offsets, bytes, isText) {
  const starts = offsets.split(/[ \t]+/).filter((word) => word !== "");
  if (starts.length === 0) throw bad("there is no offset");
  const numbers = starts.map((word, index) => {
    const number = /^[0-9]+$/.test(word) ? Number(word) : NaN;
    if (Number.isNaN(number)) throw bad("an offset is not a decimal number");
    if (number > bytes.length) throw bad("an offset is beyond the body");
    if (index > 0 && number <= Number(starts[index - 1])) throw bad("the offsets do not ascend");
    return number;
  });
  return numbers.map((start, index) => readPart(bytes.subarray(start, numbers[index + 1] ?? bytes.length), isText));
}

/**
 * @param {Uint8Array} bytes
 * @param {boolean} isText
 */
function readPart(bytes, isText) {
  const lines = [];
  let start = 0;
  for (;;) {
    const end = lineEnd(bytes, start);
    if (end < 0) throw bad("a part has no empty line");
    if (end === start) break;
    const line = decodeText(bytes.subarray(start, end));
    if (line.indexOf(":") < 1) throw bad("a part's header line has no name and colon");
    lines.push(line);
    start = end + 2;
  }
  return new Part(readHeaders(lines), bytes.subarray(start + 2), isText);
}

/**
 * The place of the next CR LF, or -1.
 * @param {Uint8Array} bytes
 * @param {number} start
 */
function lineEnd(bytes, start) {
  let at = bytes.indexOf(CR, start);
  while (at >= 0 && bytes[at + 1] !== LF) at = bytes.indexOf(CR, at + 1);
  return at;
}

/** @param {string} sentence */
function bad(sentence) {
  return new LhttpError(400, "bad-multipart", sentence);
}

// LHTTP messages (PROTOCOL.md §1).


const VERSION = "LHTTP/1.0";
const COMMAND_FORM = /^[\x21-\x7e]{1,64}$/;
/** The command of a message without one. */
const DEFAULT_COMMAND = "chat";
const HEAD_END = "\r\n\r\n";

/** A received message. */
class Message {
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
class Reply extends Message {
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
function cameOn(message, channel) {
  message.channel = channel;
  return message;
}

/**
 * The numbers that the server has given to a message, in the order of `names`; undefined where there is none. The server
 * counts each name once.
 * @param {readonly string[]} names
 * @param {Message | undefined} ack
 */
function publishedIds(names, ack) {
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
function encodeMessage(command, headers, body = "") {
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
function decodeMessage(data) {
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

/** @typedef {ReturnType<typeof readOptions>} Options */

/**
 * The options with their defaults.
 * @param {import("../index.d.ts").ConnectOptions} [options]
 */
function readOptions(options = {}) {
  const WebSocket = options.WebSocket ?? globalThis.WebSocket;
  if (typeof WebSocket !== "function") {
    throw new TypeError("there is no global WebSocket here (Node before 22): pass one in options.WebSocket");
  }
  const { backoff = {}, heartbeat = {}, queue = {} } = options;
  return {
    WebSocket: /** @type {typeof globalThis.WebSocket} */ (WebSocket),
    protocols: options.protocols,
    token: callback("token", options.token),
    reconnect: options.reconnect ?? true,
    resume: options.resume ?? true,
    backoff: {
      initial: time("backoff.initial", backoff.initial, 500),
      max: time("backoff.max", backoff.max, 30_000),
    },
    connectTimeout: time("connectTimeout", options.connectTimeout, 10_000),
    closeTimeout: time("closeTimeout", options.closeTimeout, 3_000),
    ackTimeout: time("ackTimeout", options.ackTimeout, 10_000),
    requestTimeout: time("requestTimeout", options.requestTimeout, 60_000),
    heartbeat: {
      interval: time("heartbeat.interval", heartbeat.interval, 25_000),
      timeout: time("heartbeat.timeout", heartbeat.timeout, 10_000),
    },
    offline: choice("offline", options.offline, "queue"),
    queue: {
      messagesMax: amount("queue.messagesMax", queue.messagesMax, 1_000),
      bytesMax: amount("queue.bytesMax", queue.bytesMax, 1024 * 1024),
    },
    retriesMax: amount("retriesMax", options.retriesMax, 10),
    unackedMax: amount("unackedMax", options.unackedMax, 10_000),
    messageBytesMax: amount("messageBytesMax", options.messageBytesMax, 64 * 1024),
    bufferedBytesMax: amount("bufferedBytesMax", options.bufferedBytesMax, 4 * 1024 * 1024),
    random: options.random ?? Math.random,
  };
}

/** The most old messages that a subscription may begin with (PROTOCOL.md §10). */
const LAST_MAX = 1_000;

/** @param {number | undefined} value */
function lastOption(value) {
  if (value === undefined) return 0;
  if (!Number.isInteger(value) || value < 1 || value > LAST_MAX) {
    throw new TypeError(`last is a whole number from 1 to ${LAST_MAX}, not ${String(value)}`);
  }
  return value;
}

/**
 * @template {Function} T
 * @param {string} name
 * @param {T | undefined} value
 */
function callback(name, value) {
  // A token itself would run out.
  if (value !== undefined && typeof value !== "function") throw new TypeError(`${name} is a function`);
  return value;
}

/**
 * @param {string} name
 * @param {import("../index.d.ts").Offline | undefined} value
 * @param {import("../index.d.ts").Offline} otherwise
 */
function choice(name, value, otherwise) {
  if (value === undefined) return otherwise;
  if (value !== "queue" && value !== "fail") throw new TypeError(`${name} is "queue" or "fail"`);
  return value;
}

/**
 * @param {string} name
 * @param {number | undefined} value
 * @param {number} otherwise
 */
function time(name, value, otherwise) {
  // With more than 2^31 - 1 ms setTimeout would fire at once.
  return bounded(name, value, otherwise, 2 ** 31 - 1);
}

/**
 * @param {string} name
 * @param {number | undefined} value
 * @param {number} otherwise
 */
function amount(name, value, otherwise) {
  return bounded(name, value, otherwise, Infinity);
}

/**
 * @param {string} name
 * @param {number | undefined} value
 * @param {number} otherwise
 * @param {number} max
 */
function bounded(name, value, otherwise, max) {
  if (value === undefined) return otherwise;
  if (typeof value !== "number" || !(value >= 0 && value <= max)) {
    throw new TypeError(`${name} is a number from 0 to ${max}, not ${String(value)}`);
  }
  return value;
}

// Which subscriptions share a message, and what it asks for.


/** @typedef {import("./subscriptions.js").Subscription} Subscription */

/** The most bytes of names and ids that one message renews, well below the smallest head that a server may allow. */
const BATCH_BYTES_MAX = 2048;

/**
 * The headers for what the subscriptions of a message ask for, in the order of their names.
 * @param {readonly import("./place.js").Wish[]} wishes All with the same `last`.
 */
function wishHeaders(wishes) {
  const [{ last }] = wishes;
  const headers = [];
  // A server without a history never gave an id, and so gets no header.
  if (wishes.some(({ since }) => since !== undefined)) {
    headers.push(headerPair("since", wishes.map(({ since }) => since ?? "-").join(" ")));
  }
  if (last > 0) headers.push(headerPair("last", last));
  return headers;
}

/**
 * Groups subscriptions into messages. All of a message share the command, the headers, `last` and what others see beside
 * the user, and have at most `bytesMax` bytes of names and ids.
 * @param {readonly Subscription[]} subscriptions
 * @param {(subscription: Subscription) => import("./place.js").Wish} wishOf
 * @param {number} bytesMax
 */
function batches(subscriptions, wishOf, bytesMax) {
  /** @type {Map<string, { batch: Subscription[], bytes: number }>} The batch that is being filled, by command and headers. */
  const open = new Map();
  /** @type {Subscription[][]} */
  const all = [];
  for (const subscription of subscriptions) {
    const { since, last } = wishOf(subscription);
    const shared = JSON.stringify([subscription.command, subscription.headers, last, subscription.info]);
    const bytes = utf8Length(subscription.name) + 1 + (since === undefined ? 2 : since.length + 1);
    let current = open.get(shared);
    if (!current || current.bytes + bytes > bytesMax) {
      current = { batch: [], bytes: 0 };
      open.set(shared, current);
      all.push(current.batch);
    }
    current.batch.push(subscription);
    current.bytes += bytes;
  }
  return all;
}

// Where the rooms of one channel stand in its history (PROTOCOL.md §10).
//
// Ids are opaque, so their order is only known from the order in which they come. On a live subscription that is the order
// of the channel. From a message that subscribes until its acknowledgement (here: a catch-up) it is not:
//
// - Live messages may come first. Then the server begins anew, at `since` or with the last ones, and some come again.
// - Copies for patterns look the same as those for the channel, and come in between.
//
// In both cases the last copy of a message has its right place. So a catch-up holds the messages until its acknowledgement,
// which names the newest one and so the end of the old ones. On a new connection the messages since the newest one come in
// order, if no pattern overlaps: these pass on as they come, but for the first ones.
//
// One thing cannot be known: where a gap is, if the server drops old messages while it sends them. On a live subscription, or
// among copies for patterns, not even the old ones can then be told from the others: those before the newest one are not given
// to rooms of the channel, which hear of a gap anyway.

/** The most ids of own messages without echo that are remembered: they come back only after a reconnect. */
const OWN_MAX = 1_000;
/**
 * A client that comes back holds so many messages: the acknowledgement may say that there is a gap before them. Where more
 * come there is none, because then they are the missed ones.
 */
const UNCERTAIN_MAX = 100;

/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./message.js").Message} Message */
/** @typedef {{ id: string, message: Message }} Numbered */
/** @typedef {{ since: string | undefined, last: number }} Wish What a message that subscribes asks for: `last` is 0 for none. */
/** @typedef {{ position: string | undefined, isLost: boolean }} Answer */

/** @type {Wish} */
const NO_WISH = { since: undefined, last: 0 };

/** What one message that subscribes brings of a channel. */
class CatchUp {
  /**
   * @param {Wish} wish
   * @param {boolean} isLive Whether the channel's messages come anyway.
   */
  constructor({ since, last }, isLive) {
    this.since = since;
    this.last = last;
    this.isLive = isLive;
    this.isHeld = last > 0 || (isLive && since !== undefined);
    /** Whether copies for patterns may be among the messages. */
    this.isOverlapped = false;
    /** @type {Numbered[]} Every copy, as it came. */
    this.held = [];
    /** @type {Set<string>} What was passed on. */
    this.seen = new Set();
  }

  /**
   * Replaces one whose subscription was ended in between.
   * @param {CatchUp} other
   */
  continues({ isHeld, isOverlapped, held, seen }) {
    Object.assign(this, { isHeld: this.isHeld || isHeld, isOverlapped, held, seen });
  }

  /**
   * The held messages in the order of the channel: those that came before the old ones, the old ones, those behind them.
   * @param {Answer | undefined} answer It names the newest of the old ones.
   */
  sorted(answer) {
    const position = answer?.position;
    const held = answer?.isLost ? this.#heldBehindGap(position) : this.held;
    const order = lastCopies(held);
    const end = 1 + order.findIndex(({ id }) => id === position);
    const old = order.slice(0, end);
    return { order, before: this.#before(held, position), old, behind: order.slice(end) };
  }

  /**
   * The messages that can be put in order although the server has lost some: it may have begun anew behind live messages, or
   * among copies for patterns, and nothing shows where.
   * @param {string | undefined} position
   */
  #heldBehindGap(position) {
    const newest = this.held.map(({ id }) => id).lastIndexOf(/** @type {string} */ (position));
    // Without anything old the newest message is the last one that was live before, or nothing but newer ones has come.
    const hasNothingOld = this.isLive ? this.last === 0 && newest === this.held.length - 1 : newest < 0;
    if (this.isOverlapped ? newest < 0 : !this.isLive || hasNothingOld) return this.held;
    return newest < 0 ? [] : this.held.slice(newest);
  }

  /**
   * The live messages in front of the old ones, if it can be told where these begin: the server goes back, so one of them
   * comes a second time. Copies for patterns do so, too.
   * @param {Numbered[]} held
   * @param {string | undefined} position
   */
  #before(held, position) {
    if (this.isOverlapped || position === undefined) return [];
    const ids = held.map(({ id }) => id);
    const old = new Set();
    let at = ids.lastIndexOf(position);
    while (at >= 0 && !old.has(ids[at])) old.add(ids[at--]);
    return held.slice(0, at + 1);
  }

  /**
   * The messages of which patterns have a copy: all that are newer than what came before. If there was nothing, or the last
   * ones come behind a gap, those of which two copies came, or which are not old.
   * @param {Answer | undefined} answer
   * @param {{ order: Numbered[], behind: Numbered[] }} messages
   * @param {string | undefined} heard
   */
  forPatterns(answer, { order, behind }, heard) {
    if (!this.isOverlapped) return [];
    // Behind a gap the first copy is in its right place: that of the pattern comes when the message is published.
    if (answer?.isLost) order = lastCopies([...this.held].reverse()).reverse();
    if ((heard === undefined || answer?.isLost) && this.last > 0) {
      const copies = new Map();
      for (const { id } of this.held) copies.set(id, (copies.get(id) ?? 0) + 1);
      return order.filter((one) => copies.get(one.id) > 1 || behind.includes(one));
    }
    return order.slice(1 + order.findIndex(({ id }) => id === heard));
  }
}

class Place {
  #rooms;
  #resumes;
  /** @type {string | undefined} The newest message that the rooms have had, newcomers apart. */
  #newest = undefined;
  /** @type {string | undefined} The newest message that has come. */
  #heard = undefined;
  /** @type {CatchUp | undefined} */
  #catchUp = undefined;
  /** @type {Set<Room>} Rooms that wait for the end of a catch-up, or for one. */
  #newcomers = new Set();
  /**
   * The newest message of rooms that are ahead of the others: newcomers of before.
   * @type {Map<Room, string>}
   */
  #ahead = new Map();
  /**
   * The messages of the catch-up that has put some rooms ahead: they and patterns have had these.
   * @type {Set<string>}
   */
  #passed = new Set();
  /** Whether the others may have missed something before the messages of a newcomer. */
  #isBehind = false;
  /** @type {Set<string>} Messages of this client that it does not want to receive. */
  #own = new Set();
  /** @type {boolean | undefined} Whether the channel has a history; undefined before the first acknowledgement. */
  hasHistory = undefined;

  /**
   * @param {ReadonlySet<Room>} rooms
   * @param {boolean} resumes Whether missed messages are asked for.
   */
  constructor(rooms, resumes) {
    this.#rooms = rooms;
    this.#resumes = resumes;
  }

  /** Whether a message that subscribes is not answered yet. */
  get isCatchingUp() {
    return this.#catchUp !== undefined;
  }

  /**
   * Whether a room waits for its first messages.
   * @param {Room} room
   */
  isNewcomer(room) {
    return this.#newcomers.has(room);
  }

  /** Whether a live subscription must be asked for again. */
  get isIncomplete() {
    return !this.#catchUp && (this.#isBehind || this.#lastWanted() > 0);
  }

  /**
   * What the next message that subscribes asks for.
   * @param {boolean} isLive
   * @param {boolean} isOverlapped Whether there are patterns that match the channel.
   * @returns {Wish}
   */
  wish(isLive, isOverlapped) {
    const mustResume = isLive ? this.#isBehind : this.#resumes && this.#current().length > 0;
    if (mustResume && this.#newest !== undefined) return { since: this.#newest, last: 0 };
    // Only with a position the copies for patterns can be told from old messages: it is asked for first.
    if (isOverlapped && this.#heard === undefined && !isLive) return { since: undefined, last: 0 };
    return { since: undefined, last: this.#lastWanted() };
  }

  /**
   * @param {Room} room
   * @param {boolean} isLive
   */
  add(room, isLive) {
    if (room.last > 0 || !isLive || this.#catchUp) this.#newcomers.add(room);
  }

  /**
   * Replaces the place of a subscription of the same name that is ending. For the server the two are one.
   * @param {Place} other
   */
  takeOver(other) {
    this.hasHistory = other.hasHistory;
    this.#heard = other.#heard;
    this.#passed = other.#passed;
    this.#catchUp = other.#catchUp;
    other.#catchUp = undefined;
  }

  /**
   * A pattern has had a message while this subscription was not live.
   * @param {string} id
   */
  hear(id) {
    if (!this.#catchUp) this.#heard = id;
  }

  /** @param {Room} room */
  remove(room) {
    this.#newcomers.delete(room);
    this.#ahead.delete(room);
  }

  /**
   * A message that subscribes is sent.
   * @param {Wish} wish
   * @param {boolean} isLive
   */
  begin(wish, isLive) {
    const catchUp = new CatchUp(wish, isLive);
    if (this.#catchUp) catchUp.continues(this.#catchUp);
    this.#catchUp = catchUp;
    this.#isBehind = false;
    return catchUp;
  }

  /**
   * A message of the channel has come.
   * @param {string} id
   * @param {Message} message
   * @param {boolean} isOverlapped Whether it may be the copy for a pattern.
   */
  take(id, message, isOverlapped) {
    const catchUp = this.#catchUp;
    if (!catchUp) {
      this.#newest = this.#heard = id;
      for (const room of this.#current()) room.deliver(message);
      return;
    }
    catchUp.isOverlapped ||= isOverlapped;
    catchUp.isHeld ||= isOverlapped;
    catchUp.held.push({ id, message });
    const isCertain = catchUp.since === undefined || catchUp.seen.size > 0 || catchUp.held.length > UNCERTAIN_MAX;
    if (!catchUp.isHeld && isCertain) this.#pass(catchUp);
  }

  /**
   * Passes on what a catch-up holds.
   * @param {CatchUp} catchUp
   */
  #pass(catchUp) {
    // Where nothing old was asked for, the rooms may get messages already. From then on they have a place.
    if (catchUp.since === undefined) {
      for (const room of this.#newcomers) if (room.last === 0) this.#newcomers.delete(room);
    }
    const fresh = lastCopies(catchUp.held.splice(0)).filter(({ id }) => !catchUp.seen.has(id));
    for (const { id } of fresh) catchUp.seen.add(id);
    const deliveries = this.#wanted(this.#current(), fresh, false);
    this.#newest = this.#heard = fresh[fresh.length - 1]?.id ?? this.#heard;
    for (const { room, message } of deliveries) room.deliver(message);
  }

  /**
   * The message that subscribes is answered.
   * @param {CatchUp | undefined} catchUp What `begin` has returned for it.
   * @param {Answer | undefined} answer Undefined if the server has refused it.
   * @returns {Message[]} The messages of which patterns have a copy.
   */
  end(catchUp, answer) {
    if (!catchUp || this.#catchUp !== catchUp) return [];
    this.#catchUp = undefined;
    const position = answer?.position;
    const sorted = catchUp.sorted(answer);
    const { order, old, behind } = sorted;
    const copies = catchUp.forPatterns(answer, sorted, this.#heard);
    const forPatterns = copies.filter(({ id }) => !this.#passed.has(id)).map(({ message }) => message);
    this.#heard = order[order.length - 1]?.id ?? (catchUp.seen.size > 0 ? this.#heard : (position ?? this.#heard));
    if (answer) this.hasHistory = position !== undefined;
    const isLost = answer ? answer.isLost : catchUp.isLive && catchUp.since !== undefined;
    const hasGap = isLost ? this.#behindGap(catchUp) : [];
    // Copies for patterns do not move the place of a channel that is refused.
    if (!answer && !catchUp.isLive) return forPatterns;
    const current = this.#current();
    const forCurrent =
      catchUp.last > 0 && answer ? this.#next(current, sorted) : order.filter(({ id }) => !catchUp.seen.has(id));
    const deliveries = this.#wanted(current, forCurrent, true);
    for (const room of answer ? this.#served(catchUp) : []) {
      const given = [...(room.last > 0 ? old.slice(-room.last) : []), ...behind];
      this.#newcomers.delete(room);
      if (this.#isBehind) this.#ahead.set(room, given[given.length - 1]?.id ?? position);
      for (const { message } of given) deliveries.push({ room, message });
    }
    if (!this.#isBehind) this.#newest = this.#heard;
    this.#passed = new Set(this.#isBehind ? order.map(({ id }) => id) : []);
    if (this.hasHistory === false) this.#newest = this.#heard = undefined;
    // Last, because a handler may subscribe.
    for (const room of hasGap) room.gap();
    for (const { room, message } of deliveries) room.deliver(message);
    return forPatterns;
  }

  /** The subscription has ended. Returns the messages of which patterns have a copy. */
  leave() {
    return this.end(this.#catchUp, undefined);
  }

  /** The connection is gone. What was held comes again, or was not kept. */
  disconnected() {
    this.#catchUp = undefined;
    this.#isBehind = false;
    if (!this.#resumes) this.#newest = this.#heard = undefined;
  }

  /** The server does not give what was asked for. Returns the rooms that wait for it, which then go on without. */
  giveUp() {
    const rooms = [...this.#newcomers];
    this.#newcomers.clear();
    this.#isBehind = false;
    return rooms;
  }

  /**
   * A message of this client that the server does not send to it, except to a client that comes back.
   * @param {string} id
   */
  hasPublished(id) {
    this.#own.add(id);
    if (this.#own.size > OWN_MAX) this.#own.delete(/** @type {string} */ (this.#own.values().next().value));
  }

  /**
   * What comes behind the newest message of the rooms that are no newcomers. If a part of it is not there, they are behind.
   * @param {Room[]} rooms
   * @param {{ before: Numbered[], old: Numbered[], behind: Numbered[] }} messages
   */
  #next(rooms, { before, old, behind }) {
    if (rooms.length === 0) return [];
    const newest = before[before.length - 1]?.id ?? this.#newest;
    // Without a place there is nothing to miss.
    if (newest === undefined) return behind;
    const at = old.findIndex(({ id }) => id === newest);
    this.#newest = newest;
    this.#isBehind = old.length > 0 && at < 0;
    return this.#isBehind ? before : [...before, ...old.slice(at + 1), ...behind];
  }

  /**
   * The messages for rooms that are no newcomers, without those that they have had or do not want.
   * @param {Room[]} rooms
   * @param {Numbered[]} messages
   * @param {boolean} areAll Whether no others follow that a room may have had.
   */
  #wanted(rooms, messages, areAll) {
    const isOwn = new Set(messages.filter(({ id }) => this.#own.delete(id)));
    return rooms.flatMap((room) => {
      const at = messages.findIndex(({ id }) => id === this.#ahead.get(room));
      const isAhead = this.#ahead.has(room);
      if (isAhead && at < 0 && !areAll) return [];
      this.#ahead.delete(room);
      const given = messages.slice(at + 1).filter(({ id }) => !isAhead || !this.#passed.has(id));
      return given.filter((one) => !isOwn.has(one)).map(({ message }) => ({ room, message }));
    });
  }

  /**
   * The rooms that may have missed messages. Those that began with the last ones get these again, unless they have had some
   * of them.
   * @param {CatchUp} catchUp
   */
  #behindGap({ since, last, seen }) {
    // Those that begin with the last ones once more are in use, and may have a listener.
    const rooms = last > 0 ? [...this.#rooms] : this.#current();
    const isAnew = since !== undefined && seen.size === 0;
    for (const room of rooms) if (room.last > 0 && isAnew && !this.#ahead.has(room)) this.#newcomers.add(room);
    return rooms;
  }

  /**
   * The newcomers that get what they wait for from this catch-up.
   * @param {CatchUp} catchUp
   */
  #served({ last }) {
    return [...this.#newcomers].filter((room) => room.last <= last || !this.hasHistory);
  }

  #current() {
    const rooms = [...this.#rooms];
    return this.#newcomers.size === 0 ? rooms : rooms.filter((room) => !this.#newcomers.has(room));
  }

  #lastWanted() {
    return [...this.#newcomers].reduce((most, { last }) => Math.max(most, last), 0);
  }
}

/**
 * Each message once, at the place of its last copy.
 * @param {readonly Numbered[]} copies
 */
function lastCopies(copies) {
  /** @type {Map<string, Numbered>} */
  const order = new Map();
  for (const copy of copies) {
    order.delete(copy.id);
    order.set(copy.id, copy);
  }
  return [...order.values()];
}

/**
 * The number that the server has given to this copy of a message, and its channel: two lines right behind the start line.
 * A client may write such lines into a message to a channel without a history; but its message says where it went.
 * @param {Message} message
 * @returns {{ id: string, channel: string } | undefined}
 */
function numberOf({ headers }) {
  const [first, second] = headers;
  if (first?.[0] !== "message-id" || second?.[0] !== "channel") return undefined;
  const [id, channel] = [first[1], second[1]];
  const published = headers.filter(([name]) => name.toLowerCase() === "publish");
  const isThere = published.some(([, names]) => names.split(/[ \t]+/).includes(channel));
  return published.length === 0 || isThere ? { id, channel } : undefined;
}

// Who is in a channel (PROTOCOL.md §11): asks for the lists that rosters need.


/** The command of a message that asks. A processor of this command would receive it. */
const PRESENCE_COMMAND = "lhttp-presence";
/** The commands of the server's messages: an answer, and a change. */
const PRESENCE_ANSWER = "presence";
const PRESENCE_CHANGE = "presence-change";

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
class Watch {
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
function readList(answer) {
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
function infoHeader(info) {
  if (typeof info !== "string") throw new TypeError(`info is a string, not ${String(info)}`);
  if (utf8Length(info) > INFO_BYTES_MAX) {
    throw new LhttpError(400, "bad-header", `presence-info has more than ${INFO_BYTES_MAX} bytes`);
  }
  return headerPair("presence-info", info);
}

// The users of one channel, as far as somebody listens for them (PROTOCOL.md §11).
//
// The server sends a list when it is asked, and changes. Both come in the order in which they hold, so a change leads on
// from the list before it. Without a list, and after a time in which changes may have been missed, changes say nothing:
// they are dropped until the next list has come. Its difference from the last one is then told as changes are.
//
// In a large room lists leave users out, and messages leave changes out. Each says how many there are in all.

/** The most users that are known of a channel; the others are only counted. */
const USERS_MAX = 10_000;

/** @typedef {import("../index.d.ts").PresentUser} PresentUser */

/**
 * @param {PresentUser} one
 * @param {PresentUser} other
 */
const byName = ({ user: one }, { user: other }) => (one < other ? -1 : 1);

class Roster {
  #rooms;
  /** @type {Map<string, PresentUser> | undefined} By name; undefined before the first list. */
  #users = undefined;
  /** How many users there are, known or not. */
  #total = 0;
  /** Whether the last list had all users, and none were too many since. */
  #wasWhole = false;
  /** Whether changes came since then that were not named. */
  #hasMissed = false;
  /** The last change as it came: one comes once for each subscription that matches, patterns included. */
  #lastChange = "";
  /** Whether the next change leads on from what is known. */
  isCurrent = false;
  /** Whether a list is asked for. */
  isAsked = false;
  /** Whether it is time for another list, because changes were not named. */
  isDue = false;

  /** @param {ReadonlySet<import("./room.js").Room>} rooms */
  constructor(rooms) {
    this.#rooms = rooms;
  }

  /** Whether any room has a listener. */
  get isWatched() {
    return [...this.#rooms].some((room) => room.isWatching);
  }

  /** Whether a list is needed before changes say anything, or because some were not named. */
  get needsList() {
    return !this.isCurrent || this.isDue;
  }

  /** Whether another list may make it complete again: the next one of a large room is cut as the last one was. */
  get wouldBeComplete() {
    return this.isCurrent && !this.isDue && this.#wasWhole && this.#hasMissed;
  }

  /** Changes may have been missed. */
  outdated() {
    this.isCurrent = this.isAsked = this.isDue = false;
  }

  /** Nobody listens any more. */
  forget() {
    this.outdated();
    this.#users = undefined;
    this.#lastChange = "";
  }

  /** @returns {import("../index.d.ts").Present} */
  present() {
    const users = [...(this.#users?.values() ?? [])].sort(byName);
    const more = Math.max(0, this.#total - users.length);
    return { users, more, total: this.#total, isComplete: this.#wasWhole && !this.#hasMissed };
  }

  /** @param {import("../index.d.ts").Present} list */
  setList({ users, total }) {
    const before = this.#users;
    const kept = users.slice(0, USERS_MAX);
    const isWhole = kept.length === total;
    // Of lists that leave users out the difference is not known.
    const areWhole = this.#wasWhole && isWhole;
    const now = new Map(kept.map((one) => [one.user, one]));
    this.#users = now;
    this.#total = total;
    this.#wasWhole = isWhole;
    this.#hasMissed = false;
    this.#lastChange = "";
    this.isCurrent = true;
    this.isAsked = this.isDue = false;
    if (!before || !areWhole) return this.#tell([], []);
    const gone = [...before.values()].filter(({ user }) => !now.has(user));
    const came = kept.filter(({ user }) => !before.has(user));
    this.#tell(gone, came);
  }

  /** @param {import("./message.js").Message} message */
  change(message) {
    const text = message.text();
    if (text === this.#lastChange) return;
    this.#lastChange = text;
    /** @type {{ joined: PresentUser[], left: PresentUser[], users: number, more?: number }} */
    const { joined, left, users: total, more = 0 } = JSON.parse(text);
    const before = [this.#total, this.#hasMissed].join();
    const gone = left.flatMap((one) => this.#remove(one) ?? []);
    const put = joined.filter((one) => !this.#isKnown(one)).map((one) => ({ one, isNew: this.#put(one) }));
    const came = put.filter(({ isNew }) => isNew).map(({ one }) => one);
    this.#total = total;
    this.#hasMissed ||= more > 0;
    const isNews = gone.length > 0 || put.length > 0 || before !== [this.#total, this.#hasMissed].join();
    if (isNews) this.#tell(gone, came);
  }

  /**
   * What was known of a user who has left; undefined if nobody knew that the user was there.
   * @param {PresentUser} one
   */
  #remove(one) {
    const known = this.#users?.get(one.user);
    this.#users?.delete(one.user);
    const isOneOfOthers = !this.#wasWhole || this.#hasMissed;
    return known ?? (isOneOfOthers ? one : undefined);
  }

  /**
   * Whether this says nothing new.
   * @param {PresentUser} one
   */
  #isKnown(one) {
    return JSON.stringify(this.#users?.get(one.user)) === JSON.stringify(one);
  }

  /**
   * Whether the user is new.
   * @param {PresentUser} one
   */
  #put(one) {
    const [isNew, users] = [!this.#users?.has(one.user), this.#users?.size ?? 0];
    if (isNew && users >= USERS_MAX) this.#wasWhole = false;
    else this.#users?.set(one.user, one);
    return isNew;
  }

  /**
   * @param {PresentUser[]} left
   * @param {PresentUser[]} joined
   */
  #tell(left, joined) {
    for (const room of [...this.#rooms]) room.tellPresence(this, left, joined);
  }
}

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


/** Limits for messages with expected copies: their number, and their bytes or UTF-16 units. Past either, the oldest are given up. */
const INCOMPLETE_MESSAGES_MAX = 65_536;
const INCOMPLETE_SIZE_MAX = 16 * 1024 * 1024;
/** The most channels that are known to have a history. */
const NUMBERED_MAX = 10_000;

/** Our subscription to one name, shared by all rooms of that name. */
class Subscription {
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
class Subscriptions {
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

// Promises that can be settled from outside.


/**
 * @template T
 * @typedef {{ promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void }} Deferred
 */

/**
 * @template T
 * @returns {Deferred<T>}
 */
function deferred() {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

/**
 * Throws if a caller's limits are invalid: before anything is done, whether or not the limits would matter.
 * @param {{ timeout?: number }} limits
 */
function checkLimits({ timeout }) {
  time("timeout", timeout, 0);
}

/**
 * Throws if the caller has given up already.
 * @param {{ signal?: AbortSignal }} limits
 */
function checkAborted({ signal }) {
  if (signal?.aborted) throw reasonOf(signal);
}

/**
 * Why a signal has aborted; old ones do not say.
 * @param {AbortSignal} signal
 * @returns {unknown}
 */
function reasonOf({ reason }) {
  if (reason !== undefined) return reason;
  const sentence = "the operation was aborted";
  if (typeof DOMException === "function") return new DOMException(sentence, "AbortError");
  return Object.assign(new Error(sentence), { name: "AbortError" });
}

/**
 * Calls `ended` with the reason when `signal` aborts or after `timeout` milliseconds, whichever is first. Calling the
 * returned function cancels that.
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @param {(error: unknown) => void} ended
 * @returns {() => void}
 */
function limit({ signal, timeout }, ended) {
  const abort = () => end(reasonOf(/** @type {AbortSignal} */ (signal)));
  const stopTimer =
    timeout === undefined
      ? () => {}
      : deadline(timeout, () => end(new LhttpError(0, "timeout", `not done within ${timeout} ms`)));
  const stop = () => {
    stopTimer();
    signal?.removeEventListener("abort", abort);
  };
  /** @param {unknown} error */
  const end = (error) => {
    stop();
    ended(error);
  };
  signal?.addEventListener("abort", abort);
  return stop;
}

/**
 * The result of `promise`, unless a limit comes first.
 * @template T
 * @param {Promise<T>} promise
 * @param {{ signal?: AbortSignal, timeout?: number }} limits
 * @returns {Promise<T>}
 */
function within(promise, limits) {
  const { signal, timeout } = limits;
  if (signal === undefined && timeout === undefined) return promise;
  if (signal?.aborted) return Promise.reject(reasonOf(signal));
  return new Promise((resolve, reject) => {
    const stop = limit(limits, reject);
    promise.then(resolve, reject).finally(stop);
  });
}

// Keeps the server's subscriptions equal to ours: subscribes, unsubscribes, and renews on the next connection.


/** @typedef {import("./subscriptions.js").Subscription} Subscription */
/** @typedef {import("./message.js").Message} Message */
/** @typedef {import("./error.js").LhttpError} LhttpError */

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[], answered?: (ack: Message) => void) =>
 *   Promise<unknown>} ask Calls `answered` before the next message of the server is read.
 * @property {(error: LhttpError) => void} failed
 * @property {(why: string) => void} drop
 * @property {(subscription: Subscription) => void} confirmed A subscription is live, perhaps again.
 */

class Membership {
  #line;
  #subscriptions = new Subscriptions();
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Map<import("./room.js").Room, import("./waiting.js").Deferred<void>>} The rooms that callers wait for. */
  #joining = new Map();
  /** The most bytes of names that one message renews. Once such a message was too big, each name has its own. */
  #batchBytesMax = BATCH_BYTES_MAX;
  /**
   * What the server has ended since the last token was sent: the answer would be the same.
   * @type {Set<Subscription>}
   */
  #forbidden = new Set();
  /** Whether the connection is new and not usable yet. Until it is, no subscription is reported as live. */
  #isRejoining = false;

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * @param {Subscription} subscription Used if there is none of this name yet.
   * @param {(subscription: Subscription) => import("./room.js").Room} makeRoom
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async join(subscription, makeRoom, limits) {
    const { info } = subscription;
    const found = this.#subscriptions.find(subscription.name);
    if (found && found.status !== "leaving") {
      subscription = found;
      if (found.status === "wanted") found.info = info ?? found.info;
    } else {
      if (found) subscription.place.takeOver(found.place);
      this.#subscriptions.add(subscription);
    }
    const room = makeRoom(subscription);
    subscription.rooms.add(room);
    if (!subscription.isPattern) subscription.place.add(room, subscription.status === "live");
    try {
      const joined = this.#joined(subscription, room);
      const isShown = info === undefined || info === subscription.info;
      await within(isShown ? joined : joined.then(() => this.show(subscription, info, {})), limits);
    } catch (error) {
      room.unsubscribe().catch(() => {});
      throw error;
    }
    return room;
  }

  /**
   * @param {import("./room.js").Room} room
   * @param {Subscription} subscription
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async leave(room, subscription, limits) {
    const wasIn = subscription.rooms.delete(room);
    subscription.place.remove(room);
    this.#joining.delete(room);
    if (!wasIn || subscription.rooms.size > 0) return;
    this.#forbidden.delete(subscription);
    // One that the server has ended may still be live there; ending it twice does no harm.
    const isKnown = subscription.status !== "wanted" || subscription.wasLive;
    if (!isKnown || !this.#line.isUp()) return this.#subscriptions.remove(subscription);
    subscription.status = "leaving";
    await within(this.#unsubscribe(subscription), limits);
  }

  /**
   * Changes what others see beside the user. Resolves when the server knows, or when the connection is lost: it is told
   * with each message that subscribes.
   * @param {Subscription} subscription
   * @param {string} info
   * @param {import("../index.d.ts").OperationOptions} limits
   */
  async show(subscription, info, limits) {
    const { name, command, headers, status } = subscription;
    subscription.info = info;
    if ((status !== "live" && status !== "asked") || !this.#line.isUp()) return;
    const asking = this.#line.ask(command, [headerPair("subscribe", name), infoHeader(info), ...headers]);
    await within(asking.catch(unlessLost), limits);
  }

  /** @param {string} channel */
  findChannel(channel) {
    return this.#subscriptions.findChannel(channel);
  }

  /** Renews all subscriptions on a new connection. False if that connection was lost before the end. */
  async rejoin() {
    const epoch = this.#epoch;
    this.#isRejoining = true;
    await this.renewed();
    return epoch === this.#epoch;
  }

  /** The connection is usable: callers that wait for a live subscription continue. */
  rejoined() {
    this.#isRejoining = false;
    for (const subscription of this.#subscriptions.all()) this.#tell(subscription);
  }

  /** The token has run out: the server has ended subscriptions, perhaps all of them. */
  expired() {
    for (const subscription of this.#subscriptions.all()) {
      if (subscription.status === "live") subscription.status = "wanted";
    }
  }

  /**
   * The server has ended a subscription, because a new token or a changed rule does not allow it.
   * @param {string} name
   * @param {LhttpError} error
   */
  ended(name, error) {
    const subscription = this.#subscriptions.find(name);
    if (subscription?.status !== "live") return this.#line.failed(error);
    subscription.status = "wanted";
    this.#forbidden.add(subscription);
    this.#subscriptions.settle(subscription);
    this.#line.failed(endedBy(subscription, error));
  }

  /** A new token is about to be sent, which may allow more. */
  renewing() {
    this.#forbidden.clear();
  }

  /** The server has accepted another token: asks again for everything that is not live. */
  async renewed() {
    const isWanted = (/** @type {Subscription} */ subscription) =>
      subscription.status === "wanted" && !subscription.isTooBig && !this.#forbidden.has(subscription);
    const wanted = this.#subscriptions.all().filter(isWanted);
    await Promise.all(
      batches(wanted, (one) => this.#wishOf(one), this.#batchBytesMax).map((batch) => this.#subscribe(batch)),
    );
  }

  /** The connection is gone. */
  lost() {
    this.#isRejoining = false;
    this.#forbidden.clear();
    this.#epoch += 1;
    this.#subscriptions.disconnected();
  }

  close() {
    this.lost();
    for (const subscription of this.#subscriptions.all()) {
      this.#reject(subscription.rooms, closed());
      for (const room of subscription.rooms) room.end();
    }
  }

  /**
   * Gives a copy of a published message to the rooms that it is for.
   * @param {string | Uint8Array} data The message as it came.
   * @param {Message} message
   */
  deliver(data, message) {
    const number = numberOf(message);
    const channel = number && this.#subscriptions.findChannel(number.channel);
    // On a channel without a history it is a client that has written the number.
    const isNumbered = number && message.channels.includes(number.channel) && channel?.place.hasHistory !== false;
    if (isNumbered && channel?.place.isCatchingUp && !this.#subscriptions.expects(data)) {
      const isOverlapped = this.#subscriptions.patternsFor(channel.name).some(({ status }) => status !== "wanted");
      return channel.place.take(number.id, cameOn(message, channel.name), isOverlapped);
    }
    const copy = isNumbered
      ? this.#subscriptions.assignNumbered(data, number.channel)
      : this.#subscriptions.assign(data, message.channels);
    if (!copy) return;
    cameOn(message, copy.channel);
    if (isNumbered && copy.subscription === channel) return channel.place.take(number.id, message, false);
    if (isNumbered && channel && channel.status !== "live") channel.place.hear(number.id);
    for (const room of [...copy.subscription.rooms]) room.deliver(message);
  }

  /**
   * The server has numbered a message of ours that it does not send back.
   * @param {readonly string[]} channels
   * @param {readonly (string | undefined)[]} ids
   */
  hasPublished(channels, ids) {
    for (const [index, id] of ids.entries()) {
      if (id !== undefined) this.#subscriptions.findChannel(channels[index])?.place.hasPublished(id);
    }
  }

  /**
   * Resolves when the subscription is live, and the room has what it begins with.
   * @param {Subscription} subscription
   * @param {import("./room.js").Room} room
   * @returns {Promise<void>}
   */
  #joined(subscription, room) {
    const isLive = subscription.status === "live";
    if (isLive && !this.#isRejoining && !subscription.place.isNewcomer(room)) return Promise.resolve();
    // A caller may retry a subscription that was too big: one attempt for each call.
    subscription.isTooBig = false;
    const joining = deferred();
    this.#joining.set(room, joining);
    // A caller that gave up must not cause an unhandled rejection.
    joining.promise.catch(() => {});
    if (subscription.status === "wanted" && this.#line.isUp()) void this.#subscribe([subscription]);
    else this.#complete(subscription);
    return joining.promise;
  }

  /**
   * Asks again for a live subscription, if rooms wait for messages of before.
   * @param {Subscription} subscription
   */
  #complete(subscription) {
    if (subscription.status === "live" && subscription.place.isIncomplete) void this.#subscribe([subscription]);
  }

  /**
   * What a subscription asks for beside its name.
   * @param {Subscription} subscription
   */
  #wishOf({ isPattern, name, place, status }) {
    if (isPattern) return NO_WISH;
    return place.wish(status === "live", this.#subscriptions.patternsFor(name).length > 0);
  }

  /**
   * Never rejects: the callers of each subscription get its result.
   * @param {Subscription[]} batch All with the same command and headers.
   * @returns {Promise<void>}
   */
  async #subscribe(batch) {
    const epoch = this.#epoch;
    const [{ command, headers, info }] = batch;
    const wishes = batch.map((subscription) => this.#wishOf(subscription));
    const catchUps = batch.map((subscription, index) => {
      const isLive = subscription.status === "live";
      if (!isLive) subscription.status = "asked";
      return subscription.isPattern ? undefined : subscription.place.begin(wishes[index], isLive);
    });
    /** @type {LhttpError | undefined} */
    let refusal;
    try {
      const names = headerPair("subscribe", batch.map(({ name }) => name).join(" "));
      const shown = info === undefined ? [] : [infoHeader(info)];
      const all = [names, ...wishHeaders(wishes), ...shown, ...headers];
      await this.#line.ask(command, all, (ack) => this.#answered(batch, catchUps, ack));
    } catch (error) {
      refusal = /** @type {LhttpError} */ (error);
    }
    if (epoch !== this.#epoch) {
      if (refusal?.reason === MESSAGE_TOO_BIG) this.#tooBig(batch, refusal);
      return;
    }
    if (!refusal) return;
    for (const [index, subscription] of batch.entries()) {
      this.#giveToPatterns(subscription, subscription.place.end(catchUps[index], undefined));
    }
    // The server refuses a message whole. One by one, the other subscriptions still succeed.
    if (refusal.code > 0 && batch.length > 1) {
      const again = batch.filter(({ status }) => status === "asked");
      await Promise.all(again.map((subscription) => this.#subscribe([subscription])));
      return;
    }
    for (const subscription of batch) {
      // The subscription may have been given up in between; then its own answer will come.
      if (subscription.status === "asked") this.#refused(subscription, refusal);
      else if (subscription.status === "live") this.#notGiven(subscription, refusal);
    }
  }

  /**
   * The server has confirmed the subscriptions of a message.
   * @param {Subscription[]} batch
   * @param {(import("./place.js").CatchUp | undefined)[]} catchUps
   * @param {Message} ack
   */
  #answered(batch, catchUps, ack) {
    const positions = ack.header("position")?.split(" ") ?? [];
    const lost = splitNames(ack.header("lost") ?? "");
    for (const [index, subscription] of batch.entries()) {
      const id = positions[index];
      const answer = { position: id === "-" ? undefined : id, isLost: lost.includes(subscription.name) };
      this.#giveToPatterns(subscription, subscription.place.end(catchUps[index], answer));
      // The subscription may have been given up in between; then its own answer will come.
      if (subscription.status === "asked") this.#confirmed(subscription);
      this.#tell(subscription);
      this.#complete(subscription);
    }
  }

  /**
   * The patterns get their copies of messages that were held because they could not be told from the channel's.
   * @param {Subscription} subscription
   * @param {Message[]} messages
   */
  #giveToPatterns({ name }, messages) {
    for (const message of messages) {
      for (const { rooms, status } of this.#subscriptions.patternsFor(name)) {
        if (status !== "wanted") for (const room of [...rooms]) room.deliver(message);
      }
    }
  }

  /**
   * The connection ended because of this message: it must not be sent in the same form on the next one.
   * @param {Subscription[]} batch
   * @param {LhttpError} refusal
   */
  #tooBig(batch, refusal) {
    if (batch.length > 1) {
      this.#batchBytesMax = 0;
      return;
    }
    const [subscription] = batch;
    subscription.isTooBig = true;
    this.#refused(subscription, refusal);
  }

  /** @param {Subscription} subscription */
  #confirmed(subscription) {
    subscription.status = "live";
    subscription.wasLive = true;
    subscription.roster.outdated();
    this.#subscriptions.settle(subscription);
  }

  /**
   * Lets the callers go on that wait for this subscription, if it is ready for them.
   * @param {Subscription} subscription
   */
  #tell(subscription) {
    if (subscription.status !== "live" || this.#isRejoining) return;
    for (const room of subscription.rooms) {
      if (subscription.place.isNewcomer(room)) continue;
      this.#joining.get(room)?.resolve();
      this.#joining.delete(room);
    }
    this.#line.confirmed(subscription);
  }

  /**
   * The callers that wait leave, each on its own. False if none waits.
   * @param {Iterable<import("./room.js").Room>} rooms
   * @param {LhttpError} error
   */
  #reject(rooms, error) {
    const waiting = [...rooms].map((room) => this.#joining.get(room));
    for (const room of rooms) this.#joining.delete(room);
    for (const joining of waiting) joining?.reject(error);
    return waiting.some((joining) => joining !== undefined);
  }

  /**
   * @param {Subscription} subscription
   * @param {LhttpError} error
   */
  #refused(subscription, error) {
    if (error.code > 0) {
      subscription.status = "wanted";
      this.#subscriptions.settle(subscription);
      if (subscription.wasLive) this.#line.failed(notAgain(subscription, error));
      else this.#subscriptions.remove(subscription);
    }
    this.#reject(subscription.rooms, error);
    // Without an answer there is a connection without its subscriptions, which is of no use.
    if (error.code === 0 && subscription.wasLive) this.#line.drop("no answer to a subscription");
  }

  /**
   * The server does not give a live subscription the messages of before.
   * @param {Subscription} subscription
   * @param {LhttpError} error
   */
  #notGiven(subscription, error) {
    const areTold = this.#reject(subscription.place.giveUp(), error);
    if (!areTold) this.#line.failed(error);
    if (error.code === 0) this.#line.drop("no answer to a subscription");
  }

  /** @param {Subscription} subscription */
  async #unsubscribe(subscription) {
    try {
      const ended = () => this.#giveToPatterns(subscription, subscription.place.leave());
      const asking = this.#line.ask(DEFAULT_COMMAND, [headerPair("unsubscribe", subscription.name)], ended);
      // With the connection the subscription has ended, too.
      await asking.catch(unlessLost);
    } finally {
      this.#subscriptions.remove(subscription);
    }
  }
}

/**
 * Throws an error again, unless it is the end of the connection.
 * @param {LhttpError} error
 */
function unlessLost(error) {
  if (error.reason !== "connection-lost" && error.reason !== "closed") throw error;
}

// Tokens (PROTOCOL.md §8): asking the program for one, and reading when it runs out.


/** The subprotocol that a client speaks. The server selects it, and never the one that carries the token. */
const SUBPROTOCOL = "lhttp";
const TOKEN_SUBPROTOCOL = "lhttp.token.";

/** The three parts of a signed JWT (RFC 7519). All of its characters are allowed in a subprotocol and in a header. */
const JWT_FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** The word of an error for a token that the program did not give. */
const NO_TOKEN = "no-token";

/** Where a connection goes, and as whom: asks the program's functions anew for each attempt. */
class Access {
  #url;
  #options;
  /** Whether the server refused the last token, or may have. */
  #isRefused = false;

  /**
   * @param {import("../index.d.ts").UrlInit} url
   * @param {import("./options.js").Options} options
   */
  constructor(url, options) {
    this.#url = url;
    this.#options = options;
  }

  /** Whether the client has tokens. */
  get hasTokens() {
    return this.#options.token !== undefined;
  }

  /**
   * What is known without asking: the URL, if nothing has to be asked.
   * @returns {{ url: string | URL, protocols: string | string[] | undefined } | undefined}
   */
  get known() {
    if (typeof this.#url === "function" || this.hasTokens) return undefined;
    return { url: this.#url, protocols: this.#options.protocols };
  }

  /**
   * Asks for everything that a handshake needs.
   * @returns {Promise<{ url: string | URL, protocols: string | string[] | undefined, token: string | undefined }>}
   */
  async ask() {
    const url = this.#url;
    const [address, token] = await Promise.all([
      typeof url === "function" ? this.#called("URL", "connection-lost", url) : url,
      this.hasTokens ? this.askToken("connect") : undefined,
    ]);
    return { url: address, protocols: offer(this.#options.protocols, token), token };
  }

  /**
   * Asks for a token. Undefined if the program has none now.
   * @param {"connect" | "renewal"} reason Why; the program hears of a refusal instead if there was one.
   * @returns {Promise<string | undefined>}
   */
  async askToken(reason) {
    const { token: ask } = this.#options;
    const request = { reason: this.#isRefused ? /** @type {const} */ ("refused") : reason };
    const token = await this.#called("token", NO_TOKEN, () => ask?.(request));
    if (token === undefined || token === null) return undefined;
    if (typeof token === "string" && JWT_FORM.test(token)) return token;
    throw new LhttpError(0, NO_TOKEN, "the token function gave something that is not a JWT");
  }

  /** The server has accepted the last token. */
  accepted() {
    this.#isRefused = false;
  }

  /** The server has refused the last token, or may have. */
  refused() {
    this.#isRefused = true;
  }

  /**
   * Calls a function of the program, which has the time of an attempt to connect.
   * @template T
   * @param {string} what
   * @param {string} reason The word of the error, if the function fails.
   * @param {() => T | Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #called(what, reason, ask) {
    try {
      return await within(Promise.resolve(ask()), { timeout: this.#options.connectTimeout });
    } catch (error) {
      const sentence = `the ${what} function failed: ${/** @type {Error} */ (error)?.message ?? error}`;
      throw new LhttpError(0, reason, sentence, { cause: error });
    }
  }
}

/**
 * The subprotocols of a handshake with this token.
 * @param {string | string[] | undefined} protocols The program's own.
 * @param {string | undefined} token
 */
function offer(protocols, token) {
  if (token === undefined) return protocols;
  const own = typeof protocols === "string" ? [protocols] : (protocols ?? []);
  return [...new Set([SUBPROTOCOL, `${TOKEN_SUBPROTOCOL}${token}`, ...own])];
}

/**
 * When a token runs out, in milliseconds since 1970; undefined if it does not say. The signature is not looked at: only
 * the server can tell whether the token is genuine.
 * @param {string} token
 * @returns {number | undefined}
 */
function expiryOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    // Each byte as one character: that spoils other text, but neither the number nor the syntax around it.
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? exp * 1_000 : undefined;
  } catch {
    return undefined;
  }
}

// Renews the token of a connection before it runs out (PROTOCOL.md §8).


/** The command of a message with a new token. A processor of this command would receive it. */
const TOKEN_COMMAND = "lhttp-token";

/**
 * A token is renewed at a random moment between these shares of its remaining life, so that the clients that connected
 * together do not all ask at once.
 */
const RENEWAL_EARLIEST = 0.75;
const RENEWAL_LATEST = 0.9;

/**
 * The shortest time between two renewals, in milliseconds: for a clock that is wrong, and for a server that refuses
 * again and again what the client asks.
 */
const RENEWAL_INTERVAL_MIN = 10_000;

/** With more than 2^31 - 1 ms setTimeout would fire at once. */
const TIMER_MAX = 2 ** 31 - 1;

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[]) => Promise<import("./message.js").Message>} ask
 * Sends a message, and resolves with its acknowledgement.
 * @property {(error: LhttpError) => void} failed
 * @property {() => void} renewing A new token is about to be sent.
 * @property {() => void} renewed The server has accepted a new token.
 */

class Renewal {
  #access;
  #line;
  #backoff;
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Promise<void> | undefined} The renewal that is in progress. */
  #current = undefined;
  #isWaitingToRetry = false;
  /** When the last renewal began; on the wall clock, like the ends of tokens. */
  #begunAt = -Infinity;
  #stopTimer = () => {};

  /**
   * @param {import("./token.js").Access} access
   * @param {import("./options.js").Options} options
   * @param {Line} line
   */
  constructor(access, options, line) {
    this.#access = access;
    this.#line = line;
    this.#backoff = new Backoff({ ...options.backoff, random: options.random });
  }

  /**
   * A connection was made with this token.
   * @param {string | undefined} token
   */
  connected(token) {
    this.#begunAt = -Infinity;
    this.#schedule(token);
  }

  /** The connection is gone, and with it everything that the server knew of the client. */
  lost() {
    this.#epoch += 1;
    this.#current = undefined;
    this.#isWaitingToRetry = false;
    this.#stopTimer();
    this.#backoff.reset();
  }

  /** The server has answered something with 401: the token has run out, or never was enough. */
  unauthorized() {
    if (!this.#access.hasTokens || this.#current || this.#isWaitingToRetry || !this.#line.isUp()) return;
    this.#access.refused();
    this.#after(this.#begunAt + RENEWAL_INTERVAL_MIN - Date.now());
  }

  /**
   * Asks for a token and gives it to the server, now.
   * @returns {Promise<void>}
   */
  renew() {
    this.#current ??= this.#renew(this.#epoch);
    return this.#current;
  }

  /** @param {number} epoch */
  async #renew(epoch) {
    this.#stopTimer();
    this.#isWaitingToRetry = false;
    this.#begunAt = Date.now();
    try {
      const token = await this.#access.askToken("renewal");
      // A connection that is gone needs none; the next one asks for its own. A user who has none any more has left.
      if (epoch !== this.#epoch || token === undefined) return;
      this.#line.renewing();
      const ack = await this.#line.ask(TOKEN_COMMAND, [headerPair("token", token)]);
      if (epoch !== this.#epoch) return;
      this.#access.accepted();
      this.#backoff.reset();
      this.#schedule(token, ack.header("expires-in"));
      this.#line.renewed();
    } catch (error) {
      if (epoch === this.#epoch) this.#failed(/** @type {LhttpError} */ (error));
      throw error;
    } finally {
      if (epoch === this.#epoch) this.#current = undefined;
    }
  }

  /** @param {LhttpError} error */
  #failed(error) {
    if (error.code === 401) this.#access.refused();
    const sentence = `the token could not be renewed: ${error.message}`;
    this.#line.failed(new LhttpError(error.code, error.reason, sentence, { cause: error }));
    this.#isWaitingToRetry = true;
    this.#after(this.#backoff.next(true));
  }

  /**
   * @param {string | undefined} token
   * @param {string} [expiresIn] What the server says, in seconds. Its clock is the one that counts.
   */
  #schedule(token, expiresIn) {
    this.#stopTimer();
    const end = token === undefined ? undefined : expiryOf(token);
    const told = /^\d+$/.test(expiresIn ?? "") ? Number(expiresIn) * 1_000 : undefined;
    const left = told ?? (end === undefined ? undefined : end - Date.now());
    if (left === undefined) return;
    const share = RENEWAL_EARLIEST + (RENEWAL_LATEST - RENEWAL_EARLIEST) * this.#backoff.share();
    this.#after(Math.max(left * share, RENEWAL_INTERVAL_MIN));
  }

  /** @param {number} time */
  #after(time) {
    this.#stopTimer();
    const wait = Math.min(Math.max(time, 0), TIMER_MAX);
    const timer = setTimeout(() => {
      if (wait < time) return this.#after(time - wait);
      // The line was told of a failure.
      this.renew().catch(() => {});
    }, wait);
    this.#stopTimer = () => clearTimeout(timer);
  }
}

/** The most messages that wait in a room for a loop; one more ends the loop with an error. */
const UNREAD_MAX = 1_000;

/** The events of a room about who is there. */
const PRESENCE_EVENTS = ["presence", "join", "leave"];
/** The events of a room. */
const ROOM_EVENTS = ["gap", ...PRESENCE_EVENTS];

/** The result of one call of `subscribe`: one handler's share in a subscription, or messages to iterate over. */
class Room {
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

// The client: the calls of a program, and the parts that implement them.


/** The events that can be listened to. */
const EVENTS = ["state", "message", "error"];

/**
 * Connects, and stays connected until `close()`.
 * @param {import("../index.d.ts").UrlInit} url
 * @param {import("../index.d.ts").ConnectOptions} [options]
 */
function connect(url, options) {
  return new Client(url, options);
}

/** The word of the error that says that the token has run out. */
const TOKEN_EXPIRED = "token-expired";

/** The command of a heartbeat. A processor of this command would receive it. */
const HEARTBEAT_COMMAND = "lhttp-ping";

class Client {
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

// The API of the old lhttp-client.js, for pages written for it. It does not reconnect, because such pages do that
// themselves if at all.


const PROTOCOL_AND_VER = "LHTTP/1.0";
const HEADER_KEY_PUBLISH = "publish";
const HEADER_KEY_SUBSCRIBE = "subscribe";
const HEADER_KEY_UNSUBSCRIBE = "unsubscribe";

/**
 * A connection with callbacks; each is called with a `Context`.
 * @this {any}
 * @param {string} url
 */
function Lhttp(url) {
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
class Context {
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
class OldMessage {
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

// The contents of a classic script: the old API as the global `Lhttp`, and the new one as properties of it.


/** @param {any} target */
function install(target) {
  Object.assign(Lhttp, { connect, multipart, Client, LhttpError, Message, Multipart, Part, Reply, Room });
  target.Lhttp = Lhttp;
  // The old script had these globals too. A page with its own globals of these names keeps them.
  const globals = { Context, Message: OldMessage, PROTOCOL_AND_VER, HEADER_KEY_PUBLISH, HEADER_KEY_SUBSCRIBE };
  for (const [name, value] of Object.entries(globals)) {
    if (!(name in target)) target[name] = value;
  }
}

install(target);
})(globalThis);
