// Connections that the server closes because of the client, which must not do the same again and again.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { WebSocket } from "ws";

import { connect } from "../src/index.js";
import { toldLimit } from "../src/toobig.js";
import { mockTime, names, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";
import { startLhttpd } from "./support/lhttpd.js";

const bodies = (messages) => messages.map(({ body }) => body.length);

/** Closes the socket, waits for the next one and opens it. */
async function breakAndReopen(Socket, code, reason) {
  const { length } = Socket.made;
  Socket.last.break(code, reason);
  await settled();
  while (Socket.made.length === length) mock.timers.tick(1);
  Socket.last.open();
  await settled();
}

test("on a fake socket", async (context) => {
  mockTime();

  await context.test("1009 rejects the largest message in flight, and the rest is sent again", async () => {
    const { client, Socket } = await started();
    const publish = (size, retry) => outcome(client.publish("a", "x".repeat(size), { retry }));
    const [small, big, alsoBig] = [publish(10, true), publish(500, true), publish(500, true)];
    const [once, onceBig] = [publish(20, false), publish(500, false)];
    await breakAndReopen(Socket, 1009, "message is too big");
    for (const { error } of [big, alsoBig, onceBig]) {
      assert.deepEqual([error.code, error.reason], [413, "message-too-big"]);
      assert.match(error.message, /^a message of 5\d\d bytes, the server has closed the connection for its size/);
    }
    assert.equal(once.error.reason, "connection-lost");
    assert.deepEqual(bodies(Socket.last.ackAll()), [10]);
    await settled();
    assert.ok(small.isDone && !small.error);
  });

  await context.test("a limit that the server names rejects everything over it, now and from then on", async () => {
    const { client, Socket } = await started({ unackedMax: 2 });
    const all = [10, 300, 400, 20].map((size) => outcome(client.publish("a", "x".repeat(size), { retry: true })));
    assert.deepEqual(bodies(Socket.last.take()), [10, 300], "the others wait");
    await breakAndReopen(Socket, 1009, "the limit is 200 bytes");
    for (const { error } of [all[1], all[2]]) {
      assert.equal(error.reason, "message-too-big");
      assert.match(error.message, /more than 200$/);
    }
    await assert.rejects(client.publish("a", "x".repeat(200)), { code: 413, reason: "message-too-big" });
    assert.deepEqual(bodies(Socket.last.ackAll()), [10, 20]);
    await settled();
    assert.ok(all[0].isDone && !all[0].error && all[3].isDone && !all[3].error);
    assert.deepEqual(client.queued, { messages: 0, bytes: 0 });
  });

  await context.test("without reconnect, too, the error says what was too big", async () => {
    const { client, Socket } = await started({ reconnect: false });
    const [small, big] = [10, 500].map((size) => outcome(client.publish("a", "x".repeat(size), { retry: true })));
    Socket.last.break(1009);
    await settled();
    assert.deepEqual([small.error.reason, big.error.reason], ["connection-lost", "message-too-big"]);
  });

  await context.test("a message without an answer may be the one that was too big", async () => {
    const { client, Socket } = await started();
    const kept = outcome(client.publish("a", "x".repeat(100), { retry: true }));
    client.send("chat", { publish: "a" }, "x".repeat(200));
    await breakAndReopen(Socket, 1009);
    assert.deepEqual(bodies(Socket.last.take()), [100], "it is sent again");
    // It was not too big if a message behind it was answered.
    client.send("chat", { publish: "a" }, "x".repeat(200));
    outcome(client.publish("a", "behind"));
    const [, behind] = Socket.last.take();
    Socket.last.receive(`LHTTP/1.0 ack\r\nack:${behind.header("ack")}\r\n\r\n`);
    Socket.last.break(1009);
    await settled();
    assert.equal(kept.error.reason, "message-too-big");
  });

  await context.test("a subscription that is too big is refused, and the others are renewed", async () => {
    const { client, Socket } = await started();
    const joined = client.subscribe("a", () => {});
    Socket.last.ackAll();
    const room = await joined;
    const headers = { token: "x".repeat(1_000) };
    const big = outcome(client.subscribe("b", () => {}, { headers }));
    Socket.last.take();
    await breakAndReopen(Socket, 1009);
    assert.deepEqual([big.error.code, big.error.reason], [413, "message-too-big"]);
    assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["a"]);
    await settled();
    assert.equal(client.state, "open");
    assert.ok(room.isLive);
  });

  await context.test("subscriptions that are too big together are renewed one by one", async () => {
    const { client, Socket } = await started();
    const errors = [];
    client.on("error", ({ reason }) => errors.push(reason));
    const joined = ["a", "b"].map((name) => client.subscribe(name, () => {}));
    Socket.last.ackAll();
    const rooms = await Promise.all(joined);
    await breakAndReopen(Socket, 1006);
    assert.deepEqual(names(Socket.last.take(), "subscribe"), ["a b"]);
    await breakAndReopen(Socket, 1009);
    const [first, second] = Socket.last.take();
    assert.deepEqual(names([first, second], "subscribe"), ["a", "b"]);
    // If one of them alone is still too big, the connection does without it.
    Socket.last.receive(`LHTTP/1.0 ack\r\nack:${first.header("ack")}\r\n\r\n`);
    await breakAndReopen(Socket, 1009);
    assert.deepEqual(errors, ["message-too-big"]);
    assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["a"]);
    await settled();
    assert.equal(client.state, "open");
    assert.deepEqual(
      rooms.map(({ isLive }) => isLive),
      [true, false],
    );
    // A caller may ask once more, and gets an answer.
    const again = outcome(client.subscribe("b", () => {}));
    assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["b"]);
    await settled();
    assert.ok(again.value.isLive && rooms[1].isLive);
  });

  await context.test("a message that costs the connection each time is given up", async () => {
    const { client, Socket } = await started({ retriesMax: 3 });
    const published = outcome(client.publish("a", "poison", { retry: true }));
    for (let sends = 1; sends <= 4; sends += 1) {
      assert.ok(!published.isDone);
      assert.equal(Socket.last.take().length, 1);
      await breakAndReopen(Socket, 1008, "message-timeout");
    }
    assert.equal(published.error.reason, "connection-lost");
    assert.match(published.error.message, /^sent 4 times, /);
    assert.deepEqual(Socket.last.take(), []);
  });

  await context.test("after a refusal the client waits, even if the connection held", async () => {
    for (const code of [1002, 1003, 1007, 1008, 1009, 1010]) {
      const { client, Socket } = start({ random: () => 0 });
      const waits = [];
      client.on("state", ({ state, retryIn }) => state === "waiting" && waits.push(retryIn));
      for (let tries = 0; tries < 4; tries += 1) {
        Socket.last.open();
        await pass(6_000);
        Socket.last.break(code, "policy");
        await pass(waits[waits.length - 1]);
      }
      assert.deepEqual(waits, [250, 500, 1_000, 2_000], `${code}`);
      // An idle timeout blames no message, and neither does a close that is not a refusal.
      Socket.last.open();
      await pass(6_000);
      Socket.last.break(1008, "idle");
      assert.equal(waits[4], 0);
      client.close();
    }
  });
});

test("a limit is read from a reason that names one, and from no other", () => {
  const cases = [
    ["16384", 16_384],
    ["a message of 20000 bytes, more than 16384 bytes", 16_384],
    ["message is too big", undefined],
    ["error 1009: over 64k", undefined],
    ["1009", undefined],
    ["0", undefined],
    [undefined, undefined],
  ];
  for (const [reason, limit] of cases) assert.equal(toldLimit({ code: 1009, reason }), limit, reason);
  assert.equal(toldLimit({ code: 1008, reason: "16384" }), undefined);
});

test("lhttpd's limit rejects a publish, and only that", async (context) => {
  const { url } = await startLhttpd(context, { args: ["--max-message", "16KiB"] });
  const client = connect(url, { WebSocket, backoff: { initial: 1, max: 10 } });
  context.after(() => client.close());
  await client.ready();
  const big = client.publish("room", "x".repeat(20_000), { retry: true });
  const small = client.publish("room", "x", { retry: true });
  await assert.rejects(big, { code: 413, reason: "message-too-big" });
  await small;
  assert.equal(client.state, "open");
});
