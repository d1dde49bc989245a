// Tokens against a real lhttpd that checks them.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket } from "ws";

import { connect } from "../src/index.js";
import { collector, next } from "./support/events.js";
import { startLhttpd, without } from "./support/lhttpd.js";
import { nodesOwnFlags, runModule } from "./support/program.js";
import { makeToken } from "./support/token.js";

const skip = without("--require-token");

const SECRET = "a secret of the test, 32 bytes or more";

/** A lhttpd with a key, and with rules: `open` is for all, `users.>` for all with a token, others for those it names. */
async function start(context, args = []) {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-token-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const [key, config] = ["key", "lhttpd.toml"].map((name) => join(folder, name));
  writeFileSync(key, SECRET, { mode: 0o600 });
  const rule = (match, who) => `[[channel]]\nmatch = "${match}"\nsubscribe = "${who}"\npublish = "${who}"\n`;
  writeFileSync(config, rule("open", "anyone") + rule("users.>", "user"));
  return startLhttpd(context, { args: ["--config", config, "--token-key", key, ...args] });
}

const now = () => Math.floor(Date.now() / 1_000);

/** A token of this user that names channels. */
const tokenFor = (sub, channels, seconds = 3_600) =>
  makeToken({ sub, exp: now() + seconds, "lhttp.subscribe": channels, "lhttp.publish": channels }, SECRET);

function client(context, url, token, options = {}) {
  const made = connect(url, { WebSocket, token, backoff: { initial: 20, max: 100 }, ...options });
  context.after(() => made.close());
  return made;
}

test("a token decides what a client may do, and a refusal reaches its promise", { skip }, async (context) => {
  const { url } = await start(context);
  const mike = client(context, url, async () => tokenFor("mike", ["room.*"]));
  const nobody = client(context, url, undefined);
  const got = collector();
  await mike.subscribe("room.*", got);
  await mike.publish("room.a", "hi");
  await got.until(1);
  await mike.subscribe("users.all", got);
  const forbidden = { name: "LhttpError", code: 403, reason: "forbidden" };
  await assert.rejects(mike.publish("other", "x"), forbidden);
  await assert.rejects(
    mike.subscribe("other", () => {}),
    forbidden,
  );
  await nobody.publish("open", "x");
  await assert.rejects(nobody.publish("users.all", "x"), forbidden);
  await assert.rejects(
    nobody.subscribe("room.a", () => {}),
    forbidden,
  );
  assert.deepEqual([mike.state, nobody.state], ["open", "open"]);
});

test("a refused handshake is told by ws, and the next token is taken", { skip }, async (context) => {
  const { url } = await start(context, ["--require-token"]);
  const asked = [];
  const tokens = [
    makeToken({ sub: "mike", exp: now() + 60 }, "the secret of somebody else, 32 bytes"),
    tokenFor("mike", []),
  ];
  const mike = client(context, url, ({ reason }) => {
    asked.push(reason);
    return tokens[asked.length - 1];
  });
  const { error } = await next(mike, "state", ({ state }) => state === "waiting");
  assert.deepEqual([error.code, error.reason], [401, "unauthorized"]);
  await mike.ready();
  assert.deepEqual(asked, ["connect", "refused"]);
  const nobody = client(context, url, undefined);
  const refused = await next(nobody, "state", ({ state }) => state === "waiting");
  assert.equal(refused.error.code, 401);
});

test("Node's own WebSocket connects with a token", { skip, timeout: 60_000 }, async (context) => {
  const { url } = await start(context, ["--require-token"]);
  const program = `
    import { connect } from "lhttp-client";
    const lhttp = connect(${JSON.stringify(url)}, { token: () => ${JSON.stringify(tokenFor("mike", ["room"]))} });
    const room = await lhttp.subscribe("room", ({ body }) => console.log(body));
    await room.publish("hi");
    lhttp.close();
  `;
  assert.deepEqual(await runModule(program, nodesOwnFlags), { status: 0, stdout: "hi\n", stderr: "" });
});

test("a new token takes rights away and gives them back, on the same connection", { skip }, async (context) => {
  const { url } = await start(context);
  let [user, channels] = ["mike", ["one", "two"]];
  const mike = client(context, url, () => tokenFor(user, channels));
  const states = collector();
  const got = collector();
  const [one, two] = await Promise.all([mike.subscribe("one", got), mike.subscribe("two", got)]);
  mike.on("state", states);
  const errors = collector();
  mike.on("error", errors);
  channels = ["two"];
  await mike.renewToken();
  const [{ code, message }] = await errors.until(1);
  assert.equal(code, 403);
  assert.match(message, /^the server has ended the subscription to "one": /);
  assert.deepEqual([one.isLive, two.isLive], [false, true]);
  channels = ["one", "two"];
  await mike.renewToken();
  // The renewal of the subscription is in flight; a publish comes behind it.
  await one.publish("back");
  await got.until(1);
  assert.ok(one.isLive);
  assert.equal(errors.items.length, 1);
  assert.equal(states.items.length, 0);
  // Another user may not take the connection over.
  user = "jack";
  await assert.rejects(mike.renewToken(), { code: 401, reason: "unauthorized" });
  assert.equal(mike.state, "open");
});

test("a token that has run out is renewed, and the room goes on", { skip, timeout: 90_000 }, async (context) => {
  const { url } = await start(context);
  const asked = [];
  // Past its end, but within the server's leeway of 30 s, so it ends a few seconds after the connect. The client renews
  // a token that has run out 10 s after the connect at the earliest, so the server's error comes first.
  const mike = client(context, url, ({ reason }) => {
    asked.push(reason);
    return tokenFor("mike", ["room"], asked.length === 1 ? -27 : 3_600);
  });
  const got = collector();
  const room = await mike.subscribe("room", got);
  const expired = await next(mike, "error", ({ code }) => code === 401);
  assert.equal(expired.reason, "token-expired");
  // A publish behind the new token may still be ahead of the subscription.
  while (got.items.length === 0 || !room.isLive) {
    await room.publish("after").catch(({ code }) => assert.equal(code, 401));
  }
  assert.deepEqual(asked, ["connect", "refused"]);
  assert.equal(mike.state, "open");
});
