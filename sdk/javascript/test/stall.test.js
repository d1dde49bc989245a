// Time limits of a program that stands still: what has arrived during the stall counts. On a fake clock a tick of more
// than a millisecond is a stall of that length; on a real one, a thread that sleeps.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { WebSocket } from "ws";

import { deadline } from "../src/deadline.js";
import { connect } from "../src/index.js";
import { mockTime, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";
import { startLhttpd } from "./support/lhttpd.js";

/** A stall longer than any default. */
const STALL = 3_600_000;

test("on a fake clock", async (context) => {
  mockTime();

  await context.test("an acknowledgement that came during a stall is no timeout", async () => {
    const { client, Socket } = await started();
    const published = outcome(client.publish("a", "x"));
    const limited = outcome(client.publish("a", "x", { timeout: 100 }));
    const asked = outcome(client.request("GET http://x/"));
    const subscribed = outcome(client.subscribe("a", () => {}, { timeout: 100 }));
    mock.timers.tick(STALL);
    await settled();
    const [, , request] = Socket.last.ackAll();
    Socket.last.receive(`LHTTP/1.0 chat\r\nupstream-status:200\r\nack:${request.header("ack")}\r\n\r\nok`);
    await settled();
    for (const { isDone, error } of [published, limited, asked, subscribed]) assert.ok(isDone && !error, error);
  });

  await context.test("a missing acknowledgement is a timeout once the loop has run for long enough", async () => {
    const { client } = await started({ ackTimeout: 2_000 });
    const published = outcome(client.publish("a", "x"));
    mock.timers.tick(STALL);
    await pass(1_999);
    assert.ok(!published.isDone);
    await pass(1);
    assert.equal(published.error.reason, "timeout");
  });

  await context.test("a stall after each attempt to connect does not make the next one fail, too", async () => {
    const { client, Socket, states } = start();
    for (const [tries, wait] of [250, 250, 250].entries()) {
      mock.timers.tick(STALL);
      await settled();
      assert.equal(client.state, "connecting");
      Socket.last.open();
      await settled();
      assert.equal(client.state, "open");
      await pass(5_000);
      Socket.last.break();
      assert.equal(Socket.made.length, tries + 1);
      await pass(wait);
    }
    assert.ok(!states.includes("closed"));
  });

  await context.test("a stall after each subscription does not make the connection count as lost", async () => {
    const { client, Socket } = await started();
    const joined = client.subscribe("a", () => {});
    Socket.last.ackAll();
    await joined;
    Socket.last.break();
    await pass(250);
    Socket.last.open();
    mock.timers.tick(STALL);
    await settled();
    Socket.last.ackAll();
    await settled();
    assert.equal(client.state, "open");
    assert.equal(Socket.made.length, 2);
  });

  await context.test("an answer to the heartbeat that came during a stall counts", async () => {
    const { client, Socket } = await started();
    await pass(25_000);
    assert.equal(Socket.last.sent.length, 1);
    mock.timers.tick(STALL);
    await settled();
    Socket.last.ackAll();
    await pass(20_000);
    assert.equal(client.state, "open");
  });

  await context.test("a loop that always lags has time limits all the same", async () => {
    const { client, Socket } = start();
    const published = outcome(client.publish("a", "x", { timeout: 1_000 }));
    let stalls = 0;
    for (; !published.isDone && stalls < 100; stalls += 1) {
      mock.timers.tick(20_000);
      await settled();
    }
    assert.equal(published.error.reason, "timeout");
    assert.ok(stalls <= 5, `${stalls}`);
    assert.equal(client.state, "waiting");
    assert.ok(Socket.made[0].isClosed);
  });

  await context.test("the time of a stall does not count as time in which a connection held", async () => {
    const { client, Socket } = start();
    const waits = [];
    client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
    for (let tries = 0; tries < 4; tries += 1) {
      Socket.last.open();
      mock.timers.tick(STALL);
      Socket.last.break();
      await pass(waits[waits.length - 1]);
    }
    assert.deepEqual(waits, [250, 500, 1_000, 2_000]);
  });

  await context.test("a stopped deadline never expires, whatever its state was", async () => {
    for (const before of [0, 500, 999, 1_000]) {
      const ended = mock.fn();
      const stop = deadline(1_000, ended);
      for (let passed = 0; passed < before; passed += 1) mock.timers.tick(1);
      stop();
      stop();
      await pass(5_000);
      assert.equal(ended.mock.callCount(), 0, `${before}`);
    }
  });
});

/** Stands still, like a page that computes. */
const stand = (time) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, time);

test("a real stall after each publish, connect and heartbeat is no timeout", async (context) => {
  const { url } = await startLhttpd(context);
  const limits = { connectTimeout: 600, ackTimeout: 600, heartbeat: { interval: 50, timeout: 600 } };
  const client = connect(url, { WebSocket, backoff: { initial: 1, max: 1 }, ...limits });
  context.after(() => client.close());
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  stand(900);
  await client.ready();
  const room = await client.subscribe("room", () => {});
  for (let count = 0; count < 4; count += 1) {
    const published = room.publish("x");
    stand(900);
    await published;
  }
  assert.deepEqual(states, ["open"]);
});
