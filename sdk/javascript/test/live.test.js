// The client against a real lhttpd.

import assert from "node:assert/strict";
import { test } from "node:test";

import { WebSocket } from "ws";

import { connect, multipart } from "../src/index.js";
import { collector, next } from "./support/events.js";
import { startLhttpd } from "./support/lhttpd.js";

/** A client that ends with the test. */
function client(context, url, options = {}) {
  const made = connect(url, { WebSocket, ...options });
  context.after(() => made.close());
  return made;
}

test("a publish reaches all subscribers, with command, headers and body", async (context) => {
  const { url } = await startLhttpd(context);
  const [mike, jack] = [client(context, url), client(context, url)];
  const got = collector();
  await mike.subscribe("room", got);
  await jack.subscribe("room", got);
  await jack.publish("room", "☂ hi", { command: "say", headers: { from: "jack", "x-url": "http://a:1/" } });
  for (const message of await got.until(2)) {
    assert.equal(message.command, "say");
    assert.equal(message.channel, "room");
    assert.equal(message.header("from"), "jack");
    assert.equal(message.header("X-URL"), "http://a:1/");
    assert.equal(message.body, "☂ hi");
  }
});

test("bytes arrive as bytes", async (context) => {
  const { url } = await startLhttpd(context);
  const mike = client(context, url);
  const got = collector();
  await mike.subscribe("room", got);
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  await mike.publish("room", bytes);
  await mike.publish("room", bytes.buffer);
  for (const message of await got.until(2)) assert.deepEqual(message.body, bytes);
});

test("no-echo keeps a publish from its sender only", async (context) => {
  const { url } = await startLhttpd(context);
  const [mike, jack] = [client(context, url), client(context, url)];
  const [mikes, jacks] = [collector(), collector()];
  await mike.subscribe("room", mikes);
  await jack.subscribe("room", jacks);
  await mike.publish("room", "quiet", { noEcho: true });
  await mike.publish("room", "loud");
  await mikes.until(1);
  await jacks.until(2);
  assert.deepEqual(
    [mikes, jacks].map(({ items }) => items.map(({ body }) => body)),
    [["loud"], ["quiet", "loud"]],
  );
});

test("handlers of one channel share a subscription, which ends with the last of them", async (context) => {
  const { url } = await startLhttpd(context, { args: ["--max-subscriptions", "1"] });
  const mike = client(context, url);
  const [one, two] = [collector(), collector()];
  const [first, second] = await Promise.all([mike.subscribe("room", one), mike.subscribe("room", two)]);
  await assert.rejects(
    mike.subscribe("other", () => {}),
    { name: "LhttpError", code: 429, reason: "too-many-subscriptions" },
  );
  await mike.publish("room", "both");
  await Promise.all([one.until(1), two.until(1)]);
  await first.unsubscribe();
  await mike.publish("room", "second only");
  await two.until(2);
  await second.unsubscribe();
  await second.unsubscribe();
  await mike.publish("room", "nobody");
  // There is room for another subscription again, so the server knows.
  await mike.subscribe("other", () => {});
  assert.deepEqual([one.items.length, two.items.length], [1, 2]);
});

test("overlapping patterns get each message once, per channel that it was published to", async (context) => {
  const { url } = await startLhttpd(context);
  const [mike, jack] = [client(context, url), client(context, url)];
  const got = Object.fromEntries(["a.b", "a.*", "*.b", ">"].map((name) => [name, collector()]));
  for (const [name, collect] of Object.entries(got)) await mike.subscribe(name, collect);
  // The same bytes again and again in one turn of the server, so that the copies of one message are not adjacent.
  const published = [];
  for (let count = 0; count < 50; count += 1) {
    published.push(jack.publish("a.b", "same", { ack: false }), jack.publish("a.b", `number ${count}`, { ack: false }));
  }
  await Promise.all(published);
  await jack.publish(["a.b", "a.c"], "two channels");
  await mike.publish("end.b.c", "end");
  await got[">"].until(103);
  const channels = (name) => got[name].items.map(({ channel, body }) => `${channel}: ${body}`);
  const expected = Array.from({ length: 50 }, (_, count) => ["a.b: same", `a.b: number ${count}`]).flat();
  assert.deepEqual(channels("a.b"), [...expected, "a.b: two channels"]);
  assert.deepEqual(channels("*.b"), [...expected, "a.b: two channels"]);
  assert.deepEqual(channels("a.*"), [...expected, "a.b: two channels", "a.c: two channels"]);
  assert.deepEqual(channels(">"), [...expected, "a.b: two channels", "a.c: two channels", "end.b.c: end"]);
});

test("a multipart message passes the server's check and comes back in parts", async (context) => {
  const { url } = await startLhttpd(context);
  const mike = client(context, url);
  const got = collector();
  await mike.subscribe("files", got);
  const description = { headers: { "content-type": "text/json" }, body: '{"name":"über.txt"}' };
  await mike.publish("files", multipart([description, { body: "😀" }]), { command: "upload" });
  await mike.publish("files", multipart([description, { body: new Uint8Array([1, 2]) }]), { command: "upload" });
  const [text, binary] = await got.until(2);
  assert.deepEqual(
    text.parts().map(({ headers, body }) => ({ headers, body })),
    [
      { headers: [["content-type", "text/json"]], body: '{"name":"über.txt"}' },
      { headers: [], body: "😀" },
    ],
  );
  assert.deepEqual(binary.parts()[1].bytes(), new Uint8Array([1, 2]));
  await assert.rejects(mike.publish("files", "x", { headers: { multipart: "9" } }), {
    code: 400,
    reason: "bad-multipart",
  });
});

test("a refusal of the server rejects, and an unrequested error is an error event", async (context) => {
  const { url } = await startLhttpd(context, { args: ["--max-head", "512"] });
  const mike = client(context, url);
  await assert.rejects(mike.publish("room", "", { headers: { long: "x".repeat(600) } }), {
    code: 431,
    reason: "head-too-big",
  });
  await assert.rejects(mike.request("GET http://127.0.0.1:1/"), { code: 403, reason: "forbidden" });
  await assert.rejects(mike.publish("room", "x".repeat(65_536)), { code: 413, reason: "message-too-big" });
  await assert.rejects(mike.publish("room", "", { headers: { ACK: "1" } }), { reason: "bad-header" });
  await assert.rejects(mike.request("nonsense"), { code: 400, reason: "bad-upstream" });
  const error = next(mike, "error");
  mike.send("chat", { publish: "a..b" });
  const { code, reason, message } = await error;
  assert.deepEqual([code, reason, message], [400, "bad-channel", 'channel "a..b" has an empty token']);
  assert.equal(mike.state, "open");
});

test("a room without a handler is iterated over, and leaving the loop unsubscribes", async (context) => {
  const { url } = await startLhttpd(context, { args: ["--max-subscriptions", "1"] });
  const mike = client(context, url);
  const room = await mike.subscribe("room");
  for (const body of ["1", "2", "3"]) await room.publish(body);
  const bodies = [];
  for await (const { body } of room) {
    bodies.push(body);
    if (body === "2") break;
  }
  assert.deepEqual(bodies, ["1", "2"]);
  // Only one subscription is allowed, so the room's must be gone.
  await mike.subscribe("other", () => {});
  const handled = await mike.subscribe("other", () => {});
  await assert.rejects(handled[Symbol.asyncIterator]().next(), TypeError);
});

test("a loop that falls behind ends with an error after its messages", async (context) => {
  const { url } = await startLhttpd(context);
  const mike = client(context, url);
  const room = await mike.subscribe("room");
  for (let count = 0; count < 1_001; count += 1) mike.send("chat", { publish: "room" }, `${count}`);
  // The acknowledgement comes behind all messages.
  await mike.publish("other", "");
  let read = 0;
  await assert.rejects(
    (async () => {
      for await (const { body } of room) assert.equal(body, `${read++}`);
    })(),
    { reason: "queue-full" },
  );
  assert.equal(read, 1_000);
});

test("a handler that throws is an error event, and the other handlers still get the message", async (context) => {
  const { url } = await startLhttpd(context);
  const mike = client(context, url);
  const errors = collector();
  mike.on("error", errors);
  const got = collector();
  await mike.subscribe("room", () => {
    throw new Error("thrown");
  });
  await mike.subscribe("room", async () => {
    throw new Error("rejected");
  });
  await mike.subscribe("room", got);
  await mike.publish("room", "x");
  await got.until(1);
  assert.deepEqual((await errors.until(2)).map(({ message }) => message).sort(), ["rejected", "thrown"]);
});

test("every message is a message event, even if it is not a publish or not LHTTP", async (context) => {
  const { url, port } = await startLhttpd(context);
  const mike = client(context, url);
  const seen = collector();
  const off = mike.on("message", seen);
  await mike.subscribe("room", () => {});
  const answer = await fetch(`http://127.0.0.1:${port}/publish`, {
    method: "POST",
    body: "LHTTP/1.0 ack\r\npublish:room\r\nack:1\r\n\r\nno answer of the server's",
  });
  assert.deepEqual(await answer.json(), { channels: 1 });
  const [message] = await seen.until(1);
  assert.deepEqual([message.command, message.channel], ["ack", "room"]);
  off();
  await mike.publish("room", "unseen");
  assert.equal(seen.items.length, 1);
});

test("after a server is killed and restarted all clients are subscribed again, and nothing is lost from then on", async (context) => {
  const first = await startLhttpd(context);
  const fast = { backoff: { initial: 20, max: 200 } };
  const [mike, jack] = [client(context, first.url, fast), client(context, first.url, fast)];
  const got = collector();
  await mike.subscribe("room", got);
  await mike.subscribe("room.*", got);
  await jack.publish("room", "before");
  await got.until(1);

  const lost = [mike, jack].map((one) => next(one, "state", ({ state }) => state === "waiting"));
  await first.kill();
  await Promise.all(lost);
  const waited = jack.publish("elsewhere", "while away");
  await startLhttpd(context, { port: first.port });
  await Promise.all([mike.ready(), jack.ready()]);
  await waited;
  for (let count = 0; count < 100; count += 1) await jack.publish(count % 2 ? "room" : "room.a", `after ${count}`);
  await got.until(101);
  assert.deepEqual(
    got.items.map(({ body }) => body),
    ["before", ...Array.from({ length: 100 }, (_, count) => `after ${count}`)],
  );
});

test("a publish that waited for the server comes after the subscriptions, so its sender receives it too", async (context) => {
  const first = await startLhttpd(context);
  const mike = client(context, first.url, { backoff: { initial: 20, max: 200 } });
  const got = collector();
  await mike.subscribe("room", got);
  const lost = next(mike, "state", ({ state }) => state === "waiting");
  await first.kill();
  await lost;
  const waited = Promise.all(Array.from({ length: 20 }, (_, count) => mike.publish("room", `${count}`)));
  await startLhttpd(context, { port: first.port });
  await waited;
  await got.until(20);
  assert.deepEqual(
    got.items.map(({ body }) => body),
    Array.from({ length: 20 }, (_, count) => `${count}`),
  );
});

test("a server that stops closes with 1001, and the client waits for the next one", async (context) => {
  const server = await startLhttpd(context);
  const mike = client(context, server.url);
  await mike.ready();
  const change = next(mike, "state");
  server.stop();
  const { state, closeCode } = await change;
  assert.deepEqual([state, closeCode], ["waiting", 1001]);
});

test("a closed client does not keep the process alive", async (context) => {
  const { url } = await startLhttpd(context);
  const { spawnSync } = await import("node:child_process");
  const { fileURLToPath } = await import("node:url");
  const program = `
    import { WebSocket } from "ws";
    import { connect } from "lhttp-client";
    const lhttp = connect(${JSON.stringify(url)}, { WebSocket });
    const room = await lhttp.subscribe("room", ({ body }) => console.log(body));
    await room.publish("hi");
    lhttp.close();
  `;
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", program], { cwd, timeout: 20_000 });
  assert.deepEqual([run.status, run.stdout.toString(), run.stderr.toString()], [0, "hi\n", ""]);
});
