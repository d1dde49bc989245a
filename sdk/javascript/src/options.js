/** @typedef {ReturnType<typeof readOptions>} Options */

/**
 * The options with their defaults.
 * @param {import("../index.d.ts").ConnectOptions} [options]
 */
export function readOptions(options = {}) {
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
export function lastOption(value) {
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
export function choice(name, value, otherwise) {
  if (value === undefined) return otherwise;
  if (value !== "queue" && value !== "fail") throw new TypeError(`${name} is "queue" or "fail"`);
  return value;
}

/**
 * @param {string} name
 * @param {number | undefined} value
 * @param {number} otherwise
 */
export function time(name, value, otherwise) {
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
