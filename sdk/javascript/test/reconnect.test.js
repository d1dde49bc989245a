// How a connection is made, watched, lost and renewed, on a fake socket and a fake clock.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Backoff } from "../src/backoff.js";
import { mockTime, outcome, pass, setClock, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";
import { forAll } from "./support/random.js";

mockTime();

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

test("the client retries a missing server after longer and longer waits", async () => {
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

test("after a failed connection the wait starts at once, whether a close event follows or not", async () => {
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
  // For an open connection the close event says more.
  mock.timers.tick(500);
  Socket.last.open();
  await settled();
  Socket.last.onerror({ message: "reset" });
  assert.equal(client.state, "open");
  Socket.last.break();
  assert.equal(errors[2][0], "the connection is lost: closed with 1006 (reset)");
});

test("after a restart the client comes back within the time that the server has told", async () => {
  const { client, Socket } = start();
  const waits = [];
  client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
  const lose = async (code, reason) => {
    Socket.last.open();
    await settled();
    await pass(5_000);
    Socket.last.break(code, reason);
    await pass(waits[waits.length - 1]);
  };
  await lose(1001, "restart:20000");
  // The next loss is not counted from that time.
  await lose(1001, "server is stopping");
  await lose(1001, "restart:100");
  await lose(1001, "restart:");
  await lose(1001, "restart:-1");
  await lose(1000, "restart:20000");
  await lose(1001, "restart:999999999");
  assert.deepEqual(waits, [10_000, 250, 250, 250, 250, 250, 300_000]);
});

test("only a connection that held resets the waits", async () => {
  const { client, Socket } = start();
  const waits = [];
  client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
  const hold = async (time) => {
    Socket.last.open();
    await settled();
    await pass(time);
    Socket.last.break();
    await pass(waits[waits.length - 1]);
  };
  await hold(10);
  await hold(10);
  await hold(5_000);
  await hold(10);
  assert.deepEqual(waits, [250, 500, 250, 500]);
});

test("an attempt that takes too long is given up", async () => {
  const { client, Socket } = start({ connectTimeout: 3_000 });
  const [first] = Socket.made;
  await pass(2_999);
  assert.equal(client.state, "connecting");
  await pass(1);
  assert.equal(client.state, "waiting");
  assert.ok(first.isClosed);
  await pass(250);
  assert.equal(Socket.made.length, 2);
  // The first socket is no longer used.
  first.onopen({});
  assert.equal(client.state, "connecting");
});

test("a silent connection gets a heartbeat, and is given up without an answer", async () => {
  const { client, Socket } = await started();
  await pass(20_000);
  Socket.last.receive("LHTTP/1.0 chat\r\n\r\n");
  await pass(24_999);
  assert.equal(Socket.last.sent.length, 0);
  await pass(1);
  assert.deepEqual(
    Socket.last.ackAll().map(({ command }) => command),
    ["lhttp-ping"],
  );
  await pass(10_000);
  assert.equal(client.state, "open");
  await pass(15_000);
  assert.equal(Socket.last.take().length, 1);
  await pass(9_999);
  assert.equal(client.state, "open");
  await pass(1);
  assert.equal(client.state, "waiting");
  assert.ok(Socket.last.isClosed);
});

test("setting the clock back or forward changes nothing", async () => {
  const { client, Socket } = await started();
  // The next heartbeat comes 25 s after the answer to the last one. The check of that answer takes 10 s.
  for (const [by, wait] of [
    [-3_600_000, 25_000],
    [7_200_000, 15_000],
  ]) {
    setClock(by);
    await pass(wait - 1);
    assert.equal(Socket.last.sent.length, 0);
    await pass(1);
    assert.equal(Socket.last.ackAll().length, 1);
    await pass(10_000);
  }
  assert.equal(client.state, "open");
  // The connection held, so the waits start from the beginning. The time of the next attempt uses the current clock.
  const waits = [];
  client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
  Socket.last.break();
  await pass(250);
  Socket.last.open();
  await settled();
  await pass(5_000);
  setClock(-3_600_000);
  Socket.last.break();
  assert.deepEqual(waits, [250, 250]);
  assert.equal(client.retryAt, Date.now() + 250);
});

test("a heartbeat interval of 0 disables heartbeats", async () => {
  const { client, Socket } = await started({ heartbeat: { interval: 0 } });
  mock.timers.tick(1_000_000);
  assert.equal(Socket.last.sent.length, 0);
  assert.equal(client.state, "open");
});

test("closing rejects the calls in flight and ends all rooms", async () => {
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

test("the client tries at once when a tab wakes up or the network is back", async (context) => {
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
  // Open as far as the client knows, so it sends a heartbeat.
  window.dispatchEvent(new Event("online"));
  assert.equal(Socket.last.take()[0].command, "lhttp-ping");
  await pass(10_000);
  assert.equal(client.state, "waiting");
  client.close();
  window.dispatchEvent(new Event("online"));
  assert.equal(client.state, "closed");
});
