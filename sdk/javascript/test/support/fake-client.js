// The client on a fake socket and a fake clock.

import { afterEach, beforeEach, mock } from "node:test";

import { connect } from "../../src/client.js";
import { fakeWebSocket, settled } from "./fake-socket.js";

/** In each test of the file that calls this, only `mock.timers.tick` moves time. */
export function mockTime() {
  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
    // It advances with the timers, whatever `setClock` does.
    const { now } = Date;
    mock.method(performance, "now", () => now());
  });
  afterEach(() => {
    mock.restoreAll();
    mock.timers.reset();
  });
}

/** Lets time pass while the event loop runs. `mock.timers.tick` alone simulates a loop that stands still. */
export async function pass(time) {
  for (let passed = 0; passed < time; passed += 1) mock.timers.tick(1);
  await settled();
}

/** Sets the clock forward by this many milliseconds, or back. */
export function setClock(by) {
  const { now } = Date;
  mock.method(Date, "now", () => now() + by);
}

/** A client whose random number is always 0.5, its sockets, and the changes of its state. */
export function start(options = {}) {
  const Socket = fakeWebSocket();
  const client = connect("ws://test/", { WebSocket: Socket, random: () => 0.5, ...options });
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  return { client, Socket, states };
}

/** The same, with its first connection open. */
export async function started(options) {
  const all = start(options);
  all.Socket.last.open();
  await settled();
  return all;
}

/** Records the result of a promise, without waiting for it. */
export function outcome(promise) {
  const seen = { value: undefined, error: undefined, isDone: false };
  promise.then(
    (value) => Object.assign(seen, { value, isDone: true }),
    (error) => Object.assign(seen, { error, isDone: true }),
  );
  return seen;
}

/** The value of this header in each message. */
export const names = (messages, header) => messages.map((message) => message.header(header));
