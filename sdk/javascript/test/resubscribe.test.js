// How subscriptions are made, and renewed on the next connection, on a fake socket and a fake clock.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { mockTime, names, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";

mockTime();

test("the client is open again only when its subscriptions are live, and sends nothing else before", async () => {
  const { client, Socket, states } = await started();
  const joined = [client.subscribe("a", () => {}), client.subscribe("b.*", () => {})];
  Socket.last.ackAll();
  await Promise.all(joined);
  Socket.last.break();
  const published = outcome(client.publish("a", "while away"));
  mock.timers.tick(250);
  Socket.last.open();
  const early = outcome(client.publish("a", "too early"));
  await settled();
  assert.equal(client.state, "connecting");
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["a b.*"]);
  await settled();
  assert.deepEqual(states, ["open", "waiting", "connecting", "open"]);
  assert.deepEqual(
    Socket.last.ackAll().map(({ body }) => body),
    ["while away", "too early"],
  );
  await settled();
  assert.ok(published.isDone && early.isDone && !published.error && !early.error);
});

test("a call that waited for a subscription finds the connection open", async () => {
  const { client, Socket } = start({ offline: "fail" });
  const published = (async () => {
    await client.subscribe("a", () => {});
    assert.equal(client.state, "open");
    await client.publish("a", "x");
  })();
  const alone = client.subscribe("b", () => {}).then(() => assert.equal(client.state, "open"));
  Socket.last.open();
  await settled();
  const late = client.subscribe("c", () => {}).then(() => assert.equal(client.state, "open"));
  const [both, c] = Socket.last.take();
  Socket.last.receive(`LHTTP/1.0 ack\r\nack:${c.header("ack")}\r\n\r\n`);
  await settled();
  Socket.last.receive(`LHTTP/1.0 ack\r\nack:${both.header("ack")}\r\n\r\n`);
  await settled();
  Socket.last.ackAll();
  await Promise.all([published, alone, late]);
});

test("many subscriptions are renewed in messages that fit a head, each with its command and headers", async () => {
  const { client, Socket } = start();
  const wanted = Array.from({ length: 100 }, (_, number) => `room.${"x".repeat(90)}.${number}`);
  for (const name of wanted) client.subscribe(name, () => {}).catch(() => {});
  client.subscribe("private", () => {}, { command: "join", headers: { token: "t" } }).catch(() => {});
  Socket.last.open();
  await settled();
  const sent = Socket.last.ackAll();
  assert.ok(sent.length > 2 && names(sent, "subscribe").every((value) => value.length <= 2048));
  assert.deepEqual(names(sent, "subscribe").join(" ").split(" ").sort(), [...wanted, "private"].sort());
  const own = sent.find((message) => message.header("subscribe") === "private");
  assert.deepEqual([own.command, own.header("token")], ["join", "t"]);
  await settled();
  assert.equal(client.state, "open");
});

test("a subscription that is refused again is an error event, and the others come back", async () => {
  const { client, Socket } = await started();
  const errors = [];
  client.on("error", (error) => errors.push(error));
  const joined = ["a", "b", "c"].map((name) => client.subscribe(name, () => {}));
  Socket.last.ackAll();
  const rooms = await Promise.all(joined);
  Socket.last.break();
  mock.timers.tick(250);
  Socket.last.open();
  await settled();
  // All three are requested together, refused together, and then requested one by one.
  Socket.last.refuse(Socket.last.take()[0], 403, "forbidden", "not b");
  await settled();
  const [a, b, c] = Socket.last.take();
  assert.deepEqual(names([a, b, c], "subscribe"), ["a", "b", "c"]);
  Socket.last.receive(`LHTTP/1.0 ack\r\nack:${a.header("ack")}\r\n\r\n`);
  Socket.last.refuse(b, 403, "forbidden", "not b");
  Socket.last.receive(`LHTTP/1.0 ack\r\nack:${c.header("ack")}\r\n\r\n`);
  await settled();
  assert.equal(client.state, "open");
  assert.deepEqual(
    errors.map(({ code, reason, message }) => [code, reason, message]),
    [[403, "forbidden", '"b" could not be subscribed to again: not b']],
  );
  assert.deepEqual(
    rooms.map(({ isLive }) => isLive),
    [true, false, true],
  );
});

test("subscriptions that are not answered make the connection count as lost", async () => {
  const { client, Socket, states } = await started();
  const joined = client.subscribe("a", () => {});
  Socket.last.ackAll();
  await joined;
  Socket.last.break();
  mock.timers.tick(250);
  Socket.last.open();
  await settled();
  await pass(10_000);
  assert.equal(client.state, "waiting");
  assert.deepEqual(states, ["open", "waiting", "connecting", "waiting"]);
});

test("a subscribe that was not answered when the connection broke continues on the next one", async () => {
  const { client, Socket } = await started();
  const room = outcome(client.subscribe("a", () => {}));
  Socket.last.break();
  await settled();
  assert.equal(room.isDone, false);
  mock.timers.tick(250);
  Socket.last.open();
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["a"]);
  await settled();
  assert.equal(room.value.isLive, true);
});

test("a second subscriber waits for the renewed subscription", async () => {
  const { client, Socket } = await started();
  const joined = client.subscribe("a", () => {});
  Socket.last.ackAll();
  await joined;
  Socket.last.break();
  const second = outcome(client.subscribe("a", () => {}));
  await settled();
  assert.equal(second.isDone, false);
  mock.timers.tick(250);
  Socket.last.open();
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["a"]);
  await settled();
  assert.equal(second.value.isLive, true);
});
