// One WebSocket after the other: connects, watches, and reconnects.

import { Backoff } from "./backoff.js";
import { deadline, now } from "./deadline.js";
import { LhttpError } from "./error.js";
import { abandon, closeSocket, openSocket } from "./socket.js";
import { asBytes } from "./text.js";

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
export class Connection {
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
