// Errors thrown in unexpected places, and promises that must settle all the same.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { connect } from "../src/client.js";
import { mockTime, outcome, pass, start, started } from "./support/fake-client.js";
import { fakeWebSocket, settled } from "./support/fake-socket.js";

mockTime();

/** Collects the errors thrown in timers, because no code of ours catches them. */
function thrownByTimers(context) {
  const errors = [];
  const { setTimeout: start } = globalThis;
  context.mock.method(globalThis, "setTimeout", (callback, delay) => {
    const caught = () => {
      try {
        callback();
      } catch ({ message }) {
        errors.push(message);
      }
    };
    return start(caught, delay);
  });
  return errors;
}

test("a WebSocket that cannot be created on a reconnect counts as a failed attempt", async () => {
  const Fake = fakeWebSocket();
  let isForbidden = false;
  class Socket extends Fake {
    constructor(...given) {
      if (isForbidden) throw new DOMException("not now", "SecurityError");
      super(...given);
    }
  }
  const client = connect("ws://test/", { WebSocket: Socket, random: () => 0.5 });
  const changes = [];
  client.on("state", ({ state, error }) => changes.push([state, error?.message]));
  Fake.last.open();
  await settled();
  isForbidden = true;
  Fake.last.break();
  await pass(250 + 500);
  assert.equal(client.state, "waiting");
  isForbidden = false;
  await pass(1_000);
  assert.equal(client.state, "connecting");
  Fake.last.open();
  await settled();
  assert.equal(client.state, "open");
  assert.deepEqual(changes.slice(3, 7), [
    ["waiting", "no connection: not now"],
    ["connecting", undefined],
    ["waiting", "no connection: not now"],
    ["connecting", undefined],
  ]);
});

test("a WebSocket that cannot be created at first throws to the caller and leaves nothing behind", (context) => {
  const window = new EventTarget();
  const added = context.mock.method(window, "addEventListener");
  Object.assign(globalThis, { window });
  context.after(() => delete globalThis.window);
  class Forbidden {
    constructor() {
      throw new DOMException("insecure", "SecurityError");
    }
  }
  assert.throws(() => connect("ws://test/", { WebSocket: Forbidden }), { name: "SecurityError" });
  assert.equal(added.mock.callCount(), 0);
});

test("without reconnect the failure of the first connection rejects all waiting calls", async () => {
  const { client, Socket } = start({ reconnect: false });
  const all = [client.publish("a", "x"), client.subscribe("a", () => {}), client.ready()].map(outcome);
  Socket.last.fail("refused");
  await settled();
  assert.equal(client.state, "closed");
  assert.deepEqual(
    all.map(({ error }) => error.reason),
    ["connection-lost", "closed", "closed"],
  );
});

test("a socket that does not take a message rejects it, and the queue goes on", async () => {
  const { client, Socket } = start();
  const [refused, taken] = ["refused", "taken"].map((body) => outcome(client.publish("a", body)));
  const { send } = Socket.last;
  Socket.last.send = function (data) {
    if (data.includes("refused")) throw new DOMException("no", "InvalidStateError");
    send.call(this, data);
  };
  Socket.last.open();
  await settled();
  assert.deepEqual([refused.error.reason, refused.error.cause.message], ["connection-lost", "no"]);
  Socket.last.ackAll();
  await settled();
  assert.ok(taken.isDone && !taken.error);
});

test("a socket that throws on close prevents no other cleanup", async (context) => {
  const errors = thrownByTimers(context);
  const { client, Socket } = await started();
  const published = outcome(client.publish("a", "x"));
  Socket.last.close = () => {
    throw new Error("cannot be closed");
  };
  client.close();
  await pass(1);
  assert.deepEqual(errors, ["cannot be closed"]);
  assert.equal(published.error.reason, "closed");
  assert.equal(client.state, "closed");
});

test("a random source that throws or is invalid does not prevent the next attempt", async (context) => {
  const errors = thrownByTimers(context);
  const broken = [
    () => NaN,
    () => "a",
    () => -1,
    () => 2,
    () => {
      throw new Error("no luck");
    },
  ];
  for (const random of broken) {
    const { client, Socket } = start({ random });
    Socket.last.break();
    assert.equal(client.state, "waiting");
    await pass(500);
    assert.equal(Socket.made.length, 2);
    client.close();
  }
  assert.equal(errors.length, broken.length);
  assert.deepEqual([errors[0], errors[4]], ["random is to give a number from 0 to 1, not NaN", "no luck"]);
});

test("a socket that is given up is ended, with its terminate if it has one", async () => {
  const { client, Socket } = start({ connectTimeout: 1_000 });
  const [first] = Socket.made;
  first.terminate = mock.fn();
  await pass(1_000);
  assert.equal(first.terminate.mock.callCount(), 1);
  client.close();
});

test("close waits for a silent peer for a while, and then ends the socket", async () => {
  const { client, Socket } = await started({ closeTimeout: 2_000 });
  const [socket] = Socket.made;
  socket.terminate = mock.fn();
  client.close();
  assert.ok(socket.isClosed);
  await pass(1_999);
  assert.equal(socket.terminate.mock.callCount(), 0);
  await pass(1);
  assert.equal(socket.terminate.mock.callCount(), 1);
  // A peer that answers is not closed twice.
  const other = await started();
  other.Socket.last.terminate = mock.fn();
  other.client.close();
  other.Socket.last.onclose({ code: 1000, reason: "" });
  await pass(10_000);
  assert.equal(other.Socket.last.terminate.mock.callCount(), 0);
});

test("two loops over one room wait side by side, and both end with it", async () => {
  const { client, Socket } = await started();
  const joined = client.subscribe("a");
  Socket.last.ackAll();
  const room = await joined;
  const read = async () => {
    const seen = [];
    for await (const { body } of room) seen.push(body);
    return seen;
  };
  const loops = [read(), read()].map(outcome);
  await settled();
  for (const body of ["1", "2"]) {
    Socket.last.receive(`LHTTP/1.0 chat\r\npublish:a\r\n\r\n${body}`);
    await settled();
  }
  client.close();
  await settled();
  assert.deepEqual(loops.flatMap(({ value }) => value).sort(), ["1", "2"]);
});

test("unanswered messages with retry are bounded in bytes, and others are not kept", async () => {
  const { client, Socket } = await started({ bufferedBytesMax: 1_000 });
  const again = ["1", "2", "3"].map(() => outcome(client.publish("a", "x".repeat(600), { retry: true })));
  assert.equal(Socket.last.sent.length, 2);
  assert.equal(client.queued.messages, 1);
  Socket.last.ackAll();
  await settled();
  assert.equal(Socket.last.ackAll().length, 1);
  await settled();
  assert.ok(again.every(({ isDone, error }) => isDone && !error));
  for (let count = 0; count < 5; count += 1) outcome(client.publish("a", "x".repeat(600)));
  assert.equal(Socket.last.sent.length, 5);
});

/** A signal without a reason, as in older browsers, jsdom and polyfills. */
class OldSignal extends EventTarget {
  aborted = false;
  abort() {
    this.aborted = true;
    this.dispatchEvent(new Event("abort"));
  }
}

test("a signal without a reason ends a call with an AbortError", async () => {
  const { client, Socket } = start();
  const signal = new OldSignal();
  const waiting = [client.publish("a", "x", { signal }), client.subscribe("a", () => {}, { signal })];
  const all = [...waiting, client.ready({ signal }), client.request("GET http://x/", { signal })].map(outcome);
  signal.abort();
  await settled();
  assert.deepEqual(
    all.map(({ error }) => error?.name),
    Array(4).fill("AbortError"),
  );
  assert.deepEqual(client.queued, { messages: 0, bytes: 0 });
  for (const late of [
    client.publish("a", "x", { signal }),
    client.subscribe("a", () => {}, { signal }),
    client.ready({ signal }),
    client.request("GET http://x/", { signal }),
  ]) {
    await assert.rejects(late, { name: "AbortError" });
  }
  Socket.last.open();
  await settled();
  assert.deepEqual(Socket.last.take(), []);
  const joined = client.subscribe("b", () => {});
  Socket.last.ackAll();
  await assert.rejects((await joined).unsubscribe({ signal }), { name: "AbortError" });
});
