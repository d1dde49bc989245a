// Channels with a history, against a real lhttpd (PROTOCOL.md §10).

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket } from "ws";

import { connect } from "../src/index.js";
import { collector } from "./support/events.js";
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
