// Who is in a channel, against a real lhttpd (PROTOCOL.md §11).

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
import { randomFrom } from "./support/random.js";
import { makeToken } from "./support/token.js";

const SECRET = "a secret of a server, 32 bytes +";
const RULES = `
[[channel]]
match = "told.>"
subscribe = "anyone"
publish = "anyone"
presence = "events"
history = 100
[[channel]]
match = "asked"
subscribe = "anyone"
presence = true
[[channel]]
match = "users"
subscribe = "user"
presence = true
[[channel]]
match = "plain"
subscribe = "anyone"
`;

/** A server with these rules, and tokens. */
async function startCounting(context, ...args) {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-presence-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const [rules, key] = [join(folder, "lhttpd.toml"), join(folder, "key")];
  writeFileSync(rules, RULES);
  writeFileSync(key, SECRET, { mode: 0o600 });
  return startLhttpd(context, {
    args: ["--config", rules, "--token-key", key, "--presence-grace", "100ms", ...args],
  });
}

/** A client that ends with the test, and comes back at once. */
function client(context, url, options = {}) {
  const made = connect(url, { WebSocket, backoff: { initial: 10, max: 20 }, ...options });
  context.after(() => made.close());
  return made;
}

/** A client of this user. */
function userOf(context, url, name, claims = {}, options = {}) {
  const exp = Math.floor(Date.now() / 1_000) + 3_600;
  return client(context, url, { token: () => makeToken({ sub: name, exp, ...claims }, SECRET), ...options });
}

/** What a room is told, and a way to wait for who is there. */
function watch(room) {
  const [joined, left, lists] = [collector(), collector(), collector()];
  room.on("join", joined);
  room.on("leave", left);
  room.on("presence", lists);
  const shown = () => (lists.items.at(-1)?.users ?? []).map(({ user, info }) => (info ? `${user}: ${info}` : user));
  const until = async (...expected) => {
    while (shown().join() !== expected.join()) await lists.until(lists.items.length + 1);
  };
  return { joined, left, lists, shown, until };
}

const namesOf = ({ items }) => items.map(({ user }) => user);

test("presence says who is there, and errors reach its caller", async (context) => {
  const { url } = await startCounting(context);
  const ada = userOf(context, url, "ada", { "lhttp.info": { face: ":-)" } });
  const stranger = client(context, url);
  const room = await ada.subscribe("asked", () => {}, { info: "hidden by the token" });
  const before = Math.floor(Date.now() / 1_000);
  await stranger.subscribe("asked", () => {}, { info: 'Bob "B" Ü' });
  const { users, more } = await room.presence();
  assert.equal(more, 0);
  assert.deepEqual(
    users.map(({ connections, info }) => [connections, info]),
    [
      [1, { face: ":-)" }],
      [1, 'Bob "B" Ü'],
    ],
  );
  assert.equal(users[0].user, "ada");
  assert.match(users[1].user, /^~[0-9a-v]{12}$/);
  assert.ok(Math.abs(users[0].since - before) < 100, `${users[0].since} and ${before}`);
  await assert.rejects(stranger.presence("users"), { code: 403, reason: "forbidden" });
  await assert.rejects(stranger.presence("plain"), { code: 404, reason: "no-presence" });
  await assert.rejects(stranger.presence("a.*"), { code: 400, reason: "bad-channel" });
  assert.deepEqual(await ada.presence("users"), { users: [], more: 0, total: 0, isComplete: true });
});

test("a server without any presence says so", async (context) => {
  const { url } = await startLhttpd(context);
  const ada = client(context, url);
  await assert.rejects(ada.presence("room"), { code: 404, reason: "no-presence" });
  const room = await ada.subscribe("room", () => {}, { info: "Ada" });
  const failed = next(ada, "error");
  room.on("join", () => {});
  assert.match((await failed).message, /^it is not known who is in "room": nobody counts/);
});

test("a list that is too long is cut, and says how many are left out", async (context) => {
  const { url } = await startCounting(context, "--outbox-max", "65536", "--max-message", "8192");
  const users = Array.from({ length: 120 }, (_, index) => client(context, url, { heartbeat: { interval: 0 } }));
  await Promise.all(users.map((user, index) => user.subscribe("asked", () => {}, { info: `${index}`.repeat(80) })));
  // A subscription is confirmed by its own core, and a moment later the channel's home knows who it is.
  const asking = client(context, url);
  let listed, more;
  do ({ users: listed, more } = await asking.presence("asked"));
  while (listed.length + more < 120);
  assert.equal(listed.length + more, 120);
  assert.ok(more > 0 && listed.length > 10, `${listed.length} and ${more}`);
});

test("listeners are told who comes and goes, and handlers get messages alone", async (context) => {
  const { url } = await startCounting(context);
  const messages = collector();
  const ada = userOf(context, url, "ada");
  const room = await ada.subscribe("told.a", messages);
  await ada.subscribe("told.*", () => {});
  const { joined, left, lists, until } = watch(room);
  await until("ada");
  const [bob, carl] = [userOf(context, url, "bob"), userOf(context, url, "carl")];
  const bobs = await bob.subscribe("told.a", () => {}, { info: "Bob" });
  await until("ada", "bob: Bob");
  await carl.subscribe("told.a", () => {});
  await until("ada", "bob: Bob", "carl");
  await bobs.setInfo("Rob");
  await until("ada", "bob: Rob", "carl");
  await carl.publish("told.a", "hi");
  carl.close();
  await until("ada", "bob: Rob");
  await bobs.unsubscribe();
  await until("ada");
  for (const { users, more, total, isComplete } of lists.items) {
    assert.deepEqual([more, total, isComplete], [0, users.length, true]);
  }
  assert.deepEqual(namesOf(joined), ["bob", "carl"], "and not who was there before, nor who is shown otherwise");
  assert.deepEqual(namesOf(left), ["carl", "bob"]);
  assert.deepEqual(left.items[1].info, "Rob");
  await messages.until(1);
  assert.deepEqual(
    messages.items.map(({ body }) => body),
    ["hi"],
  );
});

test("to show something else disturbs no messages of a channel with a history", async (context) => {
  const { url } = await startCounting(context);
  const [ada, bob] = [client(context, url), client(context, url)];
  const got = collector();
  const room = await ada.subscribe("told.a", got, { last: 10 });
  await ada.subscribe("told.>", () => {});
  const publishing = (async () => {
    for (let number = 0; number < 200; number += 1) await bob.publish("told.a", `${number}`);
  })();
  for (let round = 0; round < 20; round += 1) {
    await got.until(round * 5);
    await room.setInfo(`${round}`);
  }
  await publishing;
  await got.until(200);
  assert.deepEqual(
    got.items.map(({ body }) => Number(body)),
    Array.from({ length: 200 }, (_, number) => number),
  );
});

test("a client that was away is told what has changed, and is shown as before", async (context) => {
  const { url } = await startCounting(context);
  const Socket = breakingWebSocket();
  let gate = Promise.resolve();
  let open = () => {};
  const ada = userOf(context, async () => (await gate, url), "ada", {}, { WebSocket: Socket });
  const room = await ada.subscribe("told.a", () => {}, { info: "Ada" });
  const { joined, left, until } = watch(room);
  const [bob, carl] = [userOf(context, url, "bob"), userOf(context, url, "carl")];
  const bobs = await bob.subscribe("told.a", () => {});
  const other = watch(bobs);
  await until("ada: Ada", "bob");
  gate = new Promise((resolve) => (open = resolve));
  Socket.break();
  await other.until("bob");
  await carl.subscribe("told.a", () => {});
  bob.close();
  const { users } = await carl.presence("told.a");
  assert.ok(!users.some(({ user }) => user === "ada"));
  open();
  await until("ada: Ada", "carl");
  assert.deepEqual(namesOf(left), ["bob"]);
  assert.deepEqual(namesOf(joined), ["bob", "carl"]);
  assert.deepEqual(Socket.sentHeaders("presence-info"), ["Ada", "Ada"]);
});

test("after any coming, going, renaming and breaking, what listeners know is what the server knows", async (context) => {
  const seed = process.env.SEED === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(process.env.SEED);
  context.diagnostic(`SEED=${seed}`);
  const random = randomFrom(seed);
  const { url } = await startCounting(context);
  const channels = ["told.a", "told.b", "told.c"];
  const Socket = breakingWebSocket();
  const watcher = userOf(context, url, "watcher", {}, { WebSocket: Socket });
  await watcher.subscribe("told.>", () => {});
  const rooms = await Promise.all(channels.map((channel) => watcher.subscribe(channel, () => {})));
  /** Who is there by what each room has heard: of joins, leaves and the first list alone, and of lists. */
  const heard = rooms.map((room) => {
    const all = { present: undefined, list: [] };
    room.on("join", ({ user }) => assert.ok(all.present.size < all.present.add(user).size, `${user} joins twice`));
    room.on("leave", ({ user }) => assert.ok(all.present.delete(user), `${user} was not there`));
    room.on("presence", ({ users }) => {
      all.present ??= new Set(users.map(({ user }) => user));
      all.list = users;
    });
    return all;
  });
  const guests = Array.from({ length: 6 }, (_, index) => {
    const Guest = breakingWebSocket();
    const name = `guest-${index % 4}`; // two of them have two connections
    return { Guest, client: userOf(context, url, name, {}, { WebSocket: Guest }), rooms: new Map() };
  });
  const steps = {
    come: async ({ client, rooms }, channel) => {
      if (!rooms.has(channel)) rooms.set(channel, await client.subscribe(channel, () => {}, { info: "new" }));
    },
    go: async ({ rooms }, channel) => {
      await rooms.get(channel)?.unsubscribe();
      rooms.delete(channel);
    },
    rename: async ({ rooms }, channel) => rooms.get(channel)?.setInfo(`${random.below(3)}`),
    break: async ({ Guest, client }) => (await client.ready(), Guest.break(), next(client, "state")),
    breakWatcher: async () => (await watcher.ready(), Socket.break(), next(watcher, "state")),
  };
  for (let step = 0; step < 150; step += 1) {
    await steps[random.pick(Object.keys(steps))](random.pick(guests), random.pick(channels));
  }
  await Promise.all([watcher, ...guests.map(({ client }) => client)].map((one) => one.ready()));
  const deadline = Date.now() + 20_000;
  for (const [index, channel] of channels.entries()) {
    const { present, list } = heard[index];
    for (;;) {
      const { users } = await watcher.presence(channel);
      const names = (list) => list.map(({ user, info }) => `${user} ${info}`).sort();
      const known = names(heard[index].list);
      const isSame = known.join() === names(users).join();
      const isHeard = [...present].sort().join() === users.map(({ user }) => user).join();
      if (isSame && isHeard) break;
      assert.ok(
        Date.now() < deadline,
        `${channel}: ${known} and ${[...present]}, not ${names(users)} (${list.length})`,
      );
    }
  }
});
