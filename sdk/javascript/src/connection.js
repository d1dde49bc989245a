// One WebSocket after the other: connects, watches, and connects again.

import { Backoff } from "./backoff.js";
import { LhttpError } from "./error.js";
import { asBytes } from "./text.js";

/** How long a connection must have been open for the next loss to count as the first one, in milliseconds. */
const STABLE_TIME = 5_000;

const OPEN = 1;

/** The close code of a connection that ended without a close frame (RFC 6455 §7.1.5). */
const NOT_CLOSED = 1006;

/**
 * @typedef {object} Hooks
 * @property {() => void} opened The socket is open; `ready()` is to be called when it may be used.
 * @property {(data: string | Uint8Array) => void} received
 * @property {() => void} silent Nothing was heard for the heartbeat's interval: send something that is answered.
 * @property {(error: LhttpError) => void} lost The socket, which was open, is gone.
 * @property {(change: import("../index.d.ts").StateChange) => void} changed
 */

/** A connection that comes back. */
export class Connection {
  #url;
  #options;
  #hooks;
  #backoff;
  /** @type {WebSocket | undefined} */
  #socket = undefined;
  /** Whether `opened` was called for this socket, and `lost` not yet. */
  #isUp = false;
  /** By `performance.now()`, like the one below: a clock that is set takes nothing from it. */
  #openedAt = 0;
  #heardAt = 0;
  /** Frames that came, on all sockets: whether one came since is not told by the time, which may stand still. */
  #heard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} What ends the state: a connect that takes too long, a wait. */
  #stateTimer = undefined;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #heartbeat = undefined;
  #removeListeners = () => {};
  /** @type {import("../index.d.ts").State} */
  state = "connecting";
  /** @type {number | undefined} When the next try starts, in milliseconds since 1970, while `waiting`. */
  retryAt = undefined;

  /**
   * @param {string | URL} url
   * @param {import("./options.js").Options} options
   * @param {Hooks} hooks
   */
  constructor(url, options, hooks) {
    this.#url = url;
    this.#options = options;
    this.#hooks = hooks;
    this.#backoff = new Backoff({ ...options.backoff, random: options.random });
    this.#listen();
    this.#connect();
  }

  /** Whether the socket takes messages, be it only for the resubscriptions. */
  get isUp() {
    return this.#isUp && this.#socket?.readyState === OPEN;
  }

  /** What was sent and has not left yet, in bytes. */
  get bufferedBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** @param {string | Uint8Array} data */
  send(data) {
    /** @type {WebSocket} */ (this.#socket).send(/** @type {string} */ (data));
  }

  /** All that must come first has come first. */
  ready() {
    this.#become({ state: "open" });
  }

  /**
   * Gives this socket up, as if it had been lost.
   * @param {string} why
   */
  drop(why) {
    this.#down(why);
  }

  /** Looks after a moment in which time may have stood still: a tab that wakes up, a network that is back. */
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
    socket?.close(1000);
  }

  #connect() {
    clearTimeout(this.#stateTimer);
    this.#become({ state: "connecting" });
    // A listener may have closed it.
    if (this.#isClosed()) return;
    const { WebSocket, protocols, connectTimeout } = this.#options;
    const socket = protocols === undefined ? new WebSocket(this.#url) : new WebSocket(this.#url, protocols);
    this.#socket = socket;
    this.#stateTimer = setTimeout(() => this.#down(`no connection within ${connectTimeout} ms`), connectTimeout);
    socket.binaryType = "arraybuffer";
    // A socket that was given up may still call back: it is no longer ours then.
    socket.onopen = () => void (this.#socket === socket && this.#up());
    socket.onmessage = ({ data }) => void (this.#socket === socket && this.#received(data));
    // Browsers do not say what went wrong, other WebSockets do. Node's own does not fire `close` behind it for a
    // connection that was not made (nodejs/undici#3546), the others do; the code is the one that they would give.
    let fault = "";
    socket.onerror = (event) => {
      fault = /** @type {ErrorEvent} */ (event).message ?? "";
      if (this.#socket === socket && !this.#isUp) this.#down(`no connection${fault ? `: ${fault}` : ""}`, NOT_CLOSED);
    };
    socket.onclose = ({ code, reason }) => {
      const why = reason || fault;
      if (this.#socket === socket) this.#down(`closed with ${code}${why ? ` (${why})` : ""}`, code);
    };
  }

  #up() {
    clearTimeout(this.#stateTimer);
    this.#isUp = true;
    this.#openedAt = this.#heardAt = performance.now();
    this.#watch();
    this.#hooks.opened();
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heardAt = performance.now();
    this.#heard += 1;
    if (typeof data === "string") return this.#hooks.received(data);
    const bytes = asBytes(data);
    if (bytes) this.#hooks.received(bytes);
  }

  /**
   * @param {string} why
   * @param {number} [closeCode]
   */
  #down(why, closeCode) {
    const wasUp = this.#isUp;
    const isStable = wasUp && performance.now() - this.#openedAt >= STABLE_TIME;
    const socket = this.#release();
    if (socket) abandon(socket);
    if (isStable) this.#backoff.reset();
    const error = new LhttpError(0, "connection-lost", wasUp ? `the connection is lost: ${why}` : why);
    // First the state, so that what `lost` brings about finds that there is no connection.
    if (this.#options.reconnect) {
      this.#wait(error, closeCode);
    } else {
      this.#removeListeners();
      this.#become({ state: "closed", error, closeCode });
    }
    if (wasUp) this.#hooks.lost(error);
  }

  /**
   * @param {LhttpError} error
   * @param {number} [closeCode]
   */
  #wait(error, closeCode) {
    const retryIn = this.#backoff.next();
    this.#stateTimer = setTimeout(() => this.#connect(), retryIn);
    this.#become({ state: "waiting", retryIn, attempt: this.#backoff.attempts, error, closeCode });
  }

  #isClosed() {
    return this.state === "closed";
  }

  /** Lets go of the socket and of what watches it. */
  #release() {
    clearTimeout(this.#stateTimer);
    clearTimeout(this.#heartbeat);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#isUp = false;
    return socket;
  }

  /** @param {import("../index.d.ts").StateChange} change */
  #become(change) {
    this.retryAt = change.retryIn === undefined ? undefined : Date.now() + change.retryIn;
    if (this.state === change.state && change.state !== "waiting") return;
    this.state = change.state;
    this.#hooks.changed(change);
  }

  /** Sees to it that a connection on which nothing comes any more is found out (a browser's socket has no ping). */
  #watch() {
    const { interval } = this.#options.heartbeat;
    if (interval === 0) return;
    const left = this.#heardAt + interval - performance.now();
    if (left <= 0) return this.#probe();
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => this.#watch(), left);
  }

  #probe() {
    const { timeout } = this.#options.heartbeat;
    const before = this.#heard;
    clearTimeout(this.#heartbeat);
    this.#hooks.silent();
    this.#heartbeat = setTimeout(() => {
      if (this.#heard > before) return this.#watch();
      this.#down(`no answer within ${timeout} ms`);
    }, timeout);
  }

  /** What a browser says of its network and of the tab. */
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
 * Ends a socket without waiting for its peer, as far as that can be done.
 * @param {WebSocket & { terminate?: () => void }} socket
 */
function abandon(socket) {
  if (typeof socket.terminate === "function") return socket.terminate();
  socket.close();
}
