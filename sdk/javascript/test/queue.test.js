// The queue: its order, its limits and its timeouts, on a fake socket and a fake clock.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { connect } from "../src/client.js";
import { mockTime, names, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";

mockTime();

test("a publish of an `open` listener comes after the queued messages", async () => {
  const { client, Socket } = start();
  client.on("state", ({ state }) => state === "open" && client.send("chat", { publish: "a" }, "from the listener"));
  client.send("chat", { publish: "a" }, "waited");
  Socket.last.open();
  await settled();
  assert.deepEqual(
    Socket.last.take().map(({ body }) => body),
    ["waited", "from the listener"],
  );
});

test("an unanswered publish is rejected when the connection breaks, unless it may be sent again", async () => {
  const { client, Socket } = await started();
  const once = outcome(client.publish("a", "once"));
  const again = outcome(client.publish("a", "again", { retry: true }));
  Socket.last.break();
  const later = outcome(client.publish("a", "later"));
  await settled();
  assert.deepEqual([once.error.code, once.error.reason], [0, "connection-lost"]);
  assert.equal(again.isDone, false);
  assert.deepEqual(client.queued.messages, 2);
  mock.timers.tick(250);
  Socket.last.open();
  await settled();
  assert.deepEqual(
    Socket.last.ackAll().map(({ body }) => body),
    ["again", "later"],
  );
  await settled();
  assert.ok(again.isDone && !again.error && later.isDone && !later.error);
  assert.deepEqual(client.queued, { messages: 0, bytes: 0 });
});

test("the queue is bounded in messages and in bytes, and keeps what it accepted", async () => {
  const { client, Socket } = start({ queue: { messagesMax: 2 } });
  const kept = [client.publish("a", "1"), client.publish("a", "2")].map(outcome);
  await assert.rejects(client.publish("a", "3"), { code: 0, reason: "queue-full" });
  assert.throws(() => client.send("chat", { publish: "a" }, "4"), { reason: "queue-full" });
  Socket.last.open();
  await settled();
  assert.deepEqual(
    Socket.last.ackAll().map(({ body }) => body),
    ["1", "2"],
  );
  await settled();
  assert.ok(kept.every(({ isDone, error }) => isDone && !error));

  const small = start({ queue: { bytesMax: 100 } }).client;
  outcome(small.publish("a", "x".repeat(50)));
  const { messages, bytes } = small.queued;
  assert.ok(messages === 1 && bytes > 50 && bytes <= 100);
  await assert.rejects(small.publish("a", "ü".repeat(20)), { reason: "queue-full" });
});

test("a publish without a connection fails at once, if the caller wants that", async () => {
  const { client, Socket } = start({ offline: "fail" });
  await assert.rejects(client.publish("a", "x"), { code: 0, reason: "offline" });
  const kept = outcome(client.publish("a", "kept", { offline: "queue" }));
  Socket.last.open();
  await settled();
  assert.equal(Socket.last.ackAll().length, 1);
  await settled();
  assert.ok(kept.isDone && !kept.error);
  assert.throws(() => connect("ws://test/", { WebSocket: Socket, offline: "drop" }), TypeError);
});

test("a publish ends with its signal or its time limit, and is then not sent", async () => {
  const { client, Socket } = start();
  const controller = new AbortController();
  const aborted = outcome(client.publish("a", "aborted", { signal: controller.signal }));
  const late = outcome(client.publish("a", "late", { timeout: 1_000 }));
  const subscribed = outcome(client.subscribe("a", () => {}, { timeout: 1_000 }));
  controller.abort(new Error("enough"));
  await pass(1_000);
  assert.equal(aborted.error.message, "enough");
  assert.equal(late.error.reason, "timeout");
  assert.equal(subscribed.error.reason, "timeout");
  assert.deepEqual(client.queued, { messages: 0, bytes: 0 });
  await assert.rejects(client.publish("a", "x", { signal: controller.signal }), { message: "enough" });
  await assert.rejects(
    client.subscribe("a", () => {}, { signal: controller.signal }),
    { message: "enough" },
  );
  Socket.last.open();
  await settled();
  assert.deepEqual(Socket.last.take(), []);
});

test("an acknowledgement that does not come in time is a timeout", async () => {
  const { client, Socket } = await started({ ackTimeout: 2_000 });
  const published = outcome(client.publish("a", "x"));
  const subscribed = outcome(client.subscribe("b", () => {}));
  await pass(1_999);
  assert.ok(!published.isDone && !subscribed.isDone);
  await pass(1);
  assert.deepEqual([published.error.code, published.error.reason], [0, "timeout"]);
  assert.equal(subscribed.error.reason, "timeout");
  // The server may have accepted it, so the client unsubscribes.
  assert.deepEqual(names(Socket.last.take(), "unsubscribe"), [undefined, undefined, "b"]);
  assert.equal(client.state, "open");
});

test("past the bounds of the send buffer and of unanswered messages, further messages wait", async () => {
  const { client, Socket } = await started({ unackedMax: 2, bufferedBytesMax: 1_000 });
  const all = ["1", "2", "3"].map((body) => outcome(client.publish("a", body)));
  assert.equal(Socket.last.sent.length, 2);
  Socket.last.ackAll();
  await settled();
  assert.equal(Socket.last.ackAll().length, 1);
  await settled();
  assert.ok(all.every(({ isDone, error }) => isDone && !error));

  Socket.last.bufferedAmount = 1_001;
  client.send("chat", { publish: "a" }, "x");
  assert.equal(Socket.last.sent.length, 0);
  Socket.last.bufferedAmount = 0;
  mock.timers.tick(50);
  assert.equal(Socket.last.sent.length, 1);
});

test("every call refuses an invalid time limit and does nothing", async () => {
  const { client, Socket } = await started();
  const joined = client.subscribe("a", () => {});
  Socket.last.ackAll();
  const room = await joined;
  for (const timeout of [-1, NaN, Infinity, 2 ** 31, "1000", null]) {
    const refused = { name: "TypeError", message: /^timeout is a number from 0 to 2147483647, not / };
    await assert.rejects(client.ready({ timeout }), refused);
    await assert.rejects(
      client.subscribe("b", () => {}, { timeout }),
      refused,
    );
    await assert.rejects(room.unsubscribe({ timeout }), refused);
    await assert.rejects(client.publish("a", "x", { timeout }), refused);
    await assert.rejects(client.request("GET http://x/", { timeout }), refused);
  }
  assert.deepEqual(Socket.last.take(), []);
  assert.ok(room.isLive);
  const left = room.unsubscribe({ timeout: 2 ** 31 - 1 });
  Socket.last.ackAll();
  await left;
});
