// Channels with a history, against a real lhttpd (PROTOCOL.md §10).

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket } from "ws";

import { connect } from "../src/index.js";
import { breakingWebSocket } from "./support/breaking.js";
import { collector, next } from "./support/events.js";
import { startLhttpd } from "./support/lhttpd.js";

const RULES = `
[[channel]]
match = "kept.*"
history = 5000
[[channel]]
match = "short"
history = 3
`;

/** A server with these rules. */
async function startKeeper(context, options = {}) {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-history-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "lhttpd.toml");
  writeFileSync(file, RULES);
  return startLhttpd(context, { ...options, args: ["--config", file] });
}

/** A client that ends with the test, and comes back at once. */
function client(context, url, options = {}) {
  const made = connect(url, { WebSocket, backoff: { initial: 10, max: 20 }, ...options });
  context.after(() => made.close());
  return made;
}

/** A client that a test can take away: its connection breaks, and it comes back when the test lets it. */
function breakable(context, url, options = {}) {
  const Socket = breakingWebSocket();
  let gate = Promise.resolve();
  let open = () => {};
  const made = client(context, async () => (await gate, url), { WebSocket: Socket, ...options });
  return {
    client: made,
    Socket,
    leave: async () => {
      gate = new Promise((resolve) => (open = resolve));
      const lost = next(made, "state", ({ state }) => state === "waiting");
      Socket.break();
      await lost;
    },
    comeBack: () => (open(), made.ready()),
  };
}

const bodies = (collect) => collect.items.map(({ body }) => body);
const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => `${from + index}`);

async function publish(publisher, channel, list) {
  await Promise.all(list.map((body) => publisher.publish(channel, body)));
}

test("a client that comes back gets what it has missed, then new messages, each once", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  const { client: mike, Socket, leave, comeBack } = breakable(context, url);
  const [kept, plain, empty] = [collector(), collector(), collector()];
  await publish(jack, "kept.a", ["before"]);
  await mike.subscribe("kept.a", kept);
  await mike.subscribe("plain", plain);
  await mike.subscribe("kept.empty", empty);
  await publish(jack, "kept.a", ["0"]);
  await kept.until(1);
  await leave();
  await publish(jack, "kept.a", numbers(1, 50));
  await publish(jack, "plain", ["missed"]);
  await publish(jack, "kept.empty", ["first"]);
  await comeBack();
  assert.deepEqual(bodies(kept), numbers(0, 50), "all of it is there when the client is open");
  assert.deepEqual([bodies(plain), bodies(empty)], [[], ["first"]]);
  await publish(jack, ["kept.a", "plain"], ["50"]);
  await kept.until(51);
  assert.deepEqual(bodies(kept), numbers(0, 51));
  assert.deepEqual(kept.items[50].channel, "kept.a");

  // The ids stand in the order of the names.
  const [names, ids] = ["subscribe", "since"].map((name) => Socket.sentHeaders(name).pop().split(" "));
  assert.deepEqual(names, ["kept.a", "plain", "kept.empty"]);
  assert.equal(ids[0], kept.items[0].header("message-id"));
  assert.equal(ids[1], "-");
});

test("no message is lost or comes twice while connections break and others publish", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  const { client: mike, leave, comeBack } = breakable(context, url);
  const got = { a: collector(), b: collector(), late: collector() };
  await mike.subscribe("kept.a", got.a);
  await mike.subscribe("kept.b", got.b);
  const publishing = (async () => {
    for (let count = 0; count < 400; count += 1) await jack.publish(["kept.a", "kept.b"], `${count}`);
  })();
  for (let round = 1; round <= 8; round += 1) {
    await got.a.until(round * 30);
    await leave();
    await comeBack();
  }
  await publishing;
  await Promise.all([got.a.until(400), got.b.until(400)]);
  assert.deepEqual(bodies(got.a), numbers(0, 400));
  assert.deepEqual(bodies(got.b), numbers(0, 400));
});

test("the last messages come first, and then each once, also after the connection was lost", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  await publish(jack, "kept.a", numbers(0, 30));
  const { client: mike, leave, comeBack } = breakable(context, url);
  const got = collector();
  await mike.subscribe("kept.a", got, { last: 20 });
  assert.deepEqual(bodies(got), numbers(10, 30), "before the call resolves");
  await publish(jack, "kept.a", ["30"]);
  await got.until(21);
  await leave();
  await publish(jack, "kept.a", ["31"]);
  await comeBack();
  await publish(jack, "kept.a", ["32"]);
  await got.until(23);
  assert.deepEqual(bodies(got), numbers(10, 33));

  const loop = await mike.subscribe("kept.a", undefined, { last: 2 });
  const read = [];
  for await (const { body } of loop) if (read.push(body) === 2) break;
  assert.deepEqual(read, ["31", "32"]);
  await assert.rejects(mike.subscribe("kept.a", got, { last: 1_001 }), TypeError);
  await assert.rejects(mike.subscribe("kept.a", got, { last: 0 }), TypeError);
});

test("a handler that begins with the last messages of a live subscription disturbs no other", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  await publish(jack, "kept.a", numbers(0, 10));
  const mike = client(context, url);
  const [first, pattern] = [collector(), collector()];
  await mike.subscribe("kept.a", first);
  await mike.subscribe("kept.*", pattern);
  const publishing = (async () => {
    for (let count = 10; count < 400; count += 1) await jack.publish("kept.a", `${count}`, { ack: count % 10 === 0 });
  })();
  const others = [];
  for (const last of [1, 5, 1, 100, 2, 1_000]) {
    await first.until(others.length * 20 + 1);
    const [other, plain] = [collector(), collector()];
    await Promise.all([mike.subscribe("kept.a", other, { last }), mike.subscribe("kept.a", plain)]);
    others.push({ last, other, plain, from: Number(other.items[0].body) });
  }
  await publishing;
  await Promise.all([
    first.until(390),
    pattern.until(390),
    ...others.map(({ from, other }) => other.until(400 - from)),
  ]);
  assert.deepEqual(bodies(first), numbers(10, 400));
  assert.deepEqual(bodies(pattern), numbers(10, 400));
  for (const { other, from, plain } of others) {
    assert.deepEqual(bodies(other), numbers(from, 400));
    const begun = Number(plain.items[0]?.body ?? 400);
    assert.deepEqual(bodies(plain), numbers(begun, 400));
  }
});

test("a room is told of a gap, and begins anew with the last messages if it began so", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  const { client: mike, leave, comeBack } = breakable(context, url);
  const events = [];
  const note = (name) => (message) => events.push(`${name} ${message.body ?? `gap in ${message.channel}`}`);
  const kept = await mike.subscribe("kept.a", note("kept"));
  const plain = await mike.subscribe("short", note("plain"));
  const short = await mike.subscribe("short", note("short"), { last: 2 });
  kept.on("gap", note("kept"));
  plain.on("gap", note("plain"));
  const off = short.on("gap", note("short"));
  assert.throws(() => short.on("gaps", () => {}), TypeError);
  await publish(jack, "short", ["0"]);
  await mike.publish("kept.a", "0");
  await leave();
  await publish(jack, "short", numbers(1, 10));
  await publish(jack, "kept.a", ["1"]);
  await comeBack();
  await publish(jack, "short", ["10"]);
  const end = collector();
  await mike.subscribe("short", end);
  await mike.publish("short", "11");
  await end.until(1);
  const of = (name) => events.filter((event) => event.startsWith(name)).map((event) => event.slice(name.length + 1));
  assert.deepEqual(of("kept"), ["0", "1"]);
  assert.deepEqual(of("plain"), ["0", "gap in short", "10", "11"]);
  assert.deepEqual(of("short").slice(0, 2), ["0", "gap in short"]);
  // Whether the next one is among the last ones depends on the moment.
  const rest = of("short").slice(2);
  assert.deepEqual(rest.slice(-3), ["9", "10", "11"]);
  assert.ok(rest.length <= 4, `${rest}`);
  off();
});

test("a server that has restarted has forgotten everything, and the rooms are told", async (context) => {
  const first = await startKeeper(context);
  const mike = client(context, first.url);
  const got = collector();
  const room = await mike.subscribe("kept.a", got);
  await room.publish("before");
  const gaps = collector();
  room.on("gap", gaps);
  await first.kill();
  await startKeeper(context, { port: first.port });
  await gaps.until(1);
  await mike.ready();
  await room.publish("after");
  await got.until(2);
  assert.deepEqual(gaps.items, [{ channel: "kept.a" }]);
  assert.deepEqual(bodies(got), ["before", "after"]);
});

test("a publish resolves with the ids of the message", async (context) => {
  const { url } = await startKeeper(context);
  const mike = client(context, url);
  const got = collector();
  const room = await mike.subscribe("kept.a", got);
  const { id } = await room.publish("one");
  const { ids } = await mike.publish(["plain", "kept.a", "kept.b", "kept.a"], "two");
  await got.until(2);
  assert.deepEqual(
    got.items.map((message) => message.header("message-id")),
    [id, ids[1]],
  );
  assert.equal(ids.length, 4);
  assert.equal(ids[0], undefined);
  assert.equal(ids[3], ids[1]);
  assert.match(ids[2], /^[0-9a-z-]+$/);
  assert.deepEqual(await mike.publish("plain", "x"), { id: undefined, ids: [undefined] });
  assert.deepEqual(await mike.publish("kept.a", "x", { ack: false }), { id: undefined, ids: [undefined] });
});

test("own messages without echo do not come back after a reconnect, but are among the last ones", async (context) => {
  const { url } = await startKeeper(context);
  const jack = client(context, url);
  const { client: mike, leave, comeBack } = breakable(context, url);
  const got = collector();
  await mike.subscribe("kept.a", got);
  await publish(jack, "kept.a", ["0"]);
  await got.until(1);
  await mike.publish("kept.a", "own", { noEcho: true });
  await leave();
  await publish(jack, "kept.a", ["1"]);
  await comeBack();
  assert.deepEqual(bodies(got), ["0", "1"]);
  const last = collector();
  await mike.subscribe("kept.a", last, { last: 10 });
  assert.deepEqual(bodies(last), ["0", "own", "1"]);
});

test("without a history, and without resume, no id is sent", async (context) => {
  const plain = await startLhttpd(context);
  const kept = await startKeeper(context);
  for (const [url, options] of [
    [plain.url, {}],
    [kept.url, { resume: false }],
  ]) {
    const { client: mike, Socket, leave, comeBack } = breakable(context, url, options);
    const jack = client(context, url);
    const got = collector();
    await mike.subscribe("kept.a", got);
    // A client may write these lines where the server does not.
    await jack.publish("kept.a", "0", { headers: { "message-id": "mine", channel: "kept.a" } });
    await got.until(1);
    await leave();
    await publish(jack, "kept.a", ["missed"]);
    await comeBack();
    await publish(jack, "kept.a", ["1"]);
    await got.until(2);
    assert.deepEqual(bodies(got), ["0", "1"]);
    assert.deepEqual(Socket.sentHeaders("subscribe"), ["kept.a", "kept.a"]);
    assert.deepEqual([...Socket.sentHeaders("since"), ...Socket.sentHeaders("last")], []);
  }
});
