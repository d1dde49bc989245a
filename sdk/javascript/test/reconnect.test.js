// The client on a fake socket and a fake clock: back-off, time limits, and what is sent in which order.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Backoff } from "../src/backoff.js";
import { connect } from "../src/client.js";
import { fakeWebSocket, settled } from "./support/fake-socket.js";
import { forAll } from "./support/random.js";

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

/** A client whose random number is always `random`, its sockets, and the changes of its state. */
function start(options = {}) {
  const Socket = fakeWebSocket();
  const client = connect("ws://test/", { WebSocket: Socket, random: () => 0.5, ...options });
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  return { client, Socket, states };
}

async function started(options) {
  const all = start(options);
  all.Socket.last.open();
  await settled();
  return all;
}

/** Sees how a promise ends, without waiting for it. */
function outcome(promise) {
  const seen = { value: undefined, error: undefined, isDone: false };
  promise.then(
    (value) => Object.assign(seen, { value, isDone: true }),
    (error) => Object.assign(seen, { error, isDone: true }),
  );
  return seen;
}

const names = (messages, header) => messages.map((message) => message.header(header));

afterEach(() => mock.timers.reset());

test("waits double up to the most, and are spread over the whole time", () => {
  forAll(200, (random) => {
    const backoff = new Backoff({ initial: 500, max: 30_000, random: random.next });
    for (const ceiling of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      const wait = backoff.next();
      assert.ok(wait >= 0 && wait <= ceiling, `${wait} of ${ceiling}`);
    }
  });
  const none = new Backoff({ initial: 500, max: 30_000, random: () => 0 });
  const most = new Backoff({ initial: 500, max: 30_000, random: () => 0.999_999 });
  assert.deepEqual([none.next(), most.next(), most.next()], [0, 500, 1000]);
});

test("a server that is away is tried again after longer and longer waits", async () => {
  const { client, Socket } = start();
  const waits = [];
  client.on("state", ({ state, retryIn, attempt, closeCode }) => {
    if (state === "waiting") waits.push([retryIn, attempt, closeCode]);
  });
  for (let tries = 1; tries <= 8; tries += 1) {
    assert.equal(Socket.made.length, tries);
    Socket.last.break();
    assert.equal(client.state, "waiting");
    const [wait] = waits[waits.length - 1];
    assert.equal(client.retryAt, Date.now() + wait);
    mock.timers.tick(wait - 1);
    assert.equal(client.state, "waiting");
    mock.timers.tick(1);
    assert.equal(client.state, "connecting");
    assert.equal(client.retryAt, undefined);
  }
  assert.deepEqual(
    waits,
    [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000].map((wait, index) => [wait, index + 1, 1006]),
  );
});

test("a connection that fails is waited out at once, whether a close event follows or not", async () => {
  const { client, Socket } = start();
  const errors = [];
  client.on("state", ({ state, error, closeCode }) => state === "waiting" && errors.push([error.message, closeCode]));
  Socket.last.fail("refused");
  assert.equal(client.state, "waiting");
  Socket.last.break();
  mock.timers.tick(250);
  Socket.last.fail();
  assert.deepEqual(errors, [
    ["no connection: refused", 1006],
    ["no connection", 1006],
  ]);
  // Of one that is up the close event says more.
  mock.timers.tick(500);
  Socket.last.open();
  await settled();
  Socket.last.onerror({ message: "reset" });
  assert.equal(client.state, "open");
  Socket.last.break();
  assert.equal(errors[2][0], "the connection is lost: closed with 1006 (reset)");
});

test("only a connection that held starts the waits from the beginning", async () => {
  const { client, Socket } = start();
  const waits = [];
  client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
  const hold = async (time) => {
    Socket.last.open();
    await settled();
    mock.timers.tick(time);
    Socket.last.break();
    mock.timers.tick(waits[waits.length - 1]);
  };
  await hold(10);
  await hold(10);
  await hold(5_000);
  await hold(10);
  assert.deepEqual(waits, [250, 500, 250, 500]);
});

test("a connection that is not made in time is given up", () => {
  const { client, Socket } = start({ connectTimeout: 3_000 });
  const [first] = Socket.made;
  mock.timers.tick(2_999);
  assert.equal(client.state, "connecting");
  mock.timers.tick(1);
  assert.equal(client.state, "waiting");
  assert.ok(first.isClosed);
  mock.timers.tick(250);
  assert.equal(Socket.made.length, 2);
  // The first one is nobody's any more.
  first.onopen({});
  assert.equal(client.state, "connecting");
});

test("a silent connection is asked for a sign of life, and given up without one", async () => {
  const { client, Socket } = await started();
  mock.timers.tick(20_000);
  Socket.last.receive("LHTTP/1.0 chat\r\n\r\n");
  mock.timers.tick(24_999);
  assert.equal(Socket.last.sent.length, 0);
  mock.timers.tick(1);
  assert.deepEqual(
    Socket.last.ackAll().map(({ command }) => command),
    ["lhttp-ping"],
  );
  mock.timers.tick(10_000);
  assert.equal(client.state, "open");
  mock.timers.tick(25_000);
  assert.equal(Socket.last.take().length, 1);
  mock.timers.tick(10_000);
  assert.equal(client.state, "waiting");
  assert.ok(Socket.last.isClosed);
});

test("a heartbeat of 0 never asks", async () => {
  const { client, Socket } = await started({ heartbeat: { interval: 0 } });
  mock.timers.tick(1_000_000);
  assert.equal(Socket.last.sent.length, 0);
  assert.equal(client.state, "open");
});

test("it is open again only when its subscriptions are live, and sends nothing else before", async () => {
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

test("what a listener publishes when it is open comes behind what waited", async () => {
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

test("whoever waited for a subscription finds the connection open", async () => {
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

test("many subscriptions are made again in messages that fit a head, each with its command and headers", async () => {
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
  // All three are asked for together, refused together, and then one by one.
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
  mock.timers.tick(10_000);
  await settled();
  assert.equal(client.state, "waiting");
  assert.deepEqual(states, ["open", "waiting", "connecting", "waiting"]);
});

test("a subscribe that was not answered when the connection broke goes on with the next one", async () => {
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

test("the queue is bounded in messages and in bytes, and what it took it keeps", async () => {
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
  mock.timers.tick(1_000);
  await settled();
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
  mock.timers.tick(1_999);
  await settled();
  assert.ok(!published.isDone && !subscribed.isDone);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual([published.error.code, published.error.reason], [0, "timeout"]);
  assert.equal(subscribed.error.reason, "timeout");
  // The server may have taken it: it is told that nobody wants it any more.
  assert.deepEqual(names(Socket.last.take(), "unsubscribe"), [undefined, undefined, "b"]);
  assert.equal(client.state, "open");
});

test("past the send buffer's and the unanswered's bounds messages wait their turn", async () => {
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

test("closing rejects what is under way and ends all rooms", async () => {
  const { client, Socket, states } = await started();
  const joined = client.subscribe("a");
  Socket.last.ackAll();
  const room = await joined;
  const ended = outcome(
    (async () => {
      for await (const message of room) assert.fail(message);
    })(),
  );
  const all = [client.publish("a", "x"), client.subscribe("b", () => {}), client.request("GET http://x/")].map(outcome);
  client.close();
  client.close();
  await settled();
  assert.deepEqual(
    all.map(({ error }) => error.reason),
    ["closed", "closed", "closed"],
  );
  assert.ok(ended.isDone && !ended.error);
  assert.ok(Socket.last.isClosed);
  assert.deepEqual(states, ["open", "closed"]);
  await assert.rejects(client.publish("a", "x"), { reason: "closed" });
  await assert.rejects(
    client.subscribe("a", () => {}),
    { reason: "closed" },
  );
  await assert.rejects(client.ready(), { reason: "closed" });
  assert.throws(() => client.send("chat"), { reason: "closed" });
  mock.timers.tick(1_000_000);
  assert.equal(Socket.made.length, 1);
});

test("a listener may close the client in any state", async () => {
  for (const state of ["connecting", "waiting", "open"]) {
    const { client, Socket } = start();
    const off = client.on("state", (change) => change.state === state && client.close());
    Socket.last.open();
    await settled();
    Socket.last.onclose?.({ code: 1006, reason: "" });
    mock.timers.tick(100_000);
    await settled();
    assert.equal(client.state, "closed", state);
    assert.ok(Socket.made.length <= 1, state);
    off();
  }
});

test("without reconnect a loss closes the client", async () => {
  const { client, Socket } = await started({ reconnect: false });
  const changes = [];
  client.on("state", (change) => changes.push(change));
  const subscribed = outcome(client.subscribe("a", () => {}));
  const published = outcome(client.publish("a", "x", { retry: true }));
  Socket.last.break(1001);
  await settled();
  assert.deepEqual(
    changes.map(({ state, closeCode, error }) => [state, closeCode, error.reason]),
    [["closed", 1001, "connection-lost"]],
  );
  assert.equal(subscribed.error.reason, "closed");
  assert.equal(published.error.reason, "connection-lost");
});

test("a tab that wakes up and a network that is back are tried at once", async (context) => {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  Object.assign(globalThis, { window, document });
  context.after(() => {
    delete globalThis.window;
    delete globalThis.document;
  });
  const { client, Socket } = start();
  Socket.last.break();
  window.dispatchEvent(new Event("online"));
  assert.equal(client.state, "connecting");
  Socket.last.break();
  document.visibilityState = "hidden";
  document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(client.state, "waiting");
  document.visibilityState = "visible";
  document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(client.state, "connecting");
  Socket.last.open();
  await settled();
  // Open, as far as anyone knows: it is asked.
  window.dispatchEvent(new Event("online"));
  assert.equal(Socket.last.take()[0].command, "lhttp-ping");
  mock.timers.tick(10_000);
  assert.equal(client.state, "waiting");
  client.close();
  window.dispatchEvent(new Event("online"));
  assert.equal(client.state, "closed");
});

test("a second subscriber waits for the subscription that is made again", async () => {
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
