// One WebSocket: how to create it, and how to end it without its peer.

import { throwLater } from "./emitter.js";

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
export function openSocket({ url, protocols }, { WebSocket }) {
  if (isNodesOwn(WebSocket)) return openNodesOwn(WebSocket, url, protocols);
  return protocols === undefined ? new WebSocket(url) : new WebSocket(url, protocols);
}

/**
 * Ends a socket without waiting for its peer, as far as possible: a browser does that itself.
 * @param {Socket} socket
 */
export function abandon(socket) {
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
export function closeSocket(socket, time) {
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
