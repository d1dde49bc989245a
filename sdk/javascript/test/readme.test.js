// Each example of the README, run as a separate program against a real lhttpd.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

import { WebSocket } from "ws";

import { collector } from "./support/events.js";
import { startLhttpd } from "./support/lhttpd.js";
import { runModule } from "./support/program.js";
import { tokenFor } from "./support/token.js";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const readme = read("../README.md");

/** The port of a web server that gives tokens. */
async function startTokenServer(context) {
  const server = createServer((_, answer) => answer.end(tokenFor("mike", 3_600)));
  context.after(() => server.close());
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server.address().port;
}

/** The code between fences of this language. */
const examples = (text, language) =>
  [...text.matchAll(new RegExp("^```" + language + "\\n([\\s\\S]*?)^```$", "gm"))].map(([, code]) => code);

test("each example of the README runs and prints the promised output", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-readme-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const rules = join(folder, "lhttpd.toml");
  writeFileSync(rules, '[[channel]]\nmatch = "lobby"\npresence = "events"\n');
  const { port } = await startLhttpd(context, { args: ["--config", rules] });
  const tokenPort = await startTokenServer(context);
  const expected = [
    "mike: hi\n",
    "",
    'open \n400 bad-channel channel "a..b" has an empty token\nclosed \n',
    "hi\n",
    "über.bin 3\n",
    "hi\nnot kept\n",
    "Ada 0\n",
  ];
  const all = examples(readme, "js");
  assert.equal(all.length, expected.length);
  // Node 22 has this global by itself.
  const globals = 'import { WebSocket as GlobalWebSocket } from "ws"; globalThis.WebSocket = GlobalWebSocket;';
  for (const [index, code] of all.entries()) {
    const ported = code.replaceAll(":8081", `:${port}`).replaceAll(":8080", `:${tokenPort}`);
    const run = await runModule(`${globals}\n${ported}`, []);
    assert.deepEqual([run.stdout, run.stderr, run.status], [expected[index], "", 0], code);
  }
});

test("the page of the README chats", async (context) => {
  const { port } = await startLhttpd(context);
  const [html] = examples(readme, "html");
  const [, code] = html.match(/<script>([\s\S]*?)<\/script>/);
  const log = collector();
  const page = createContext({ WebSocket, TextEncoder, TextDecoder, setTimeout, clearTimeout, console: { log } });
  runInContext(read("../dist/lhttp.js"), page);
  runInContext(code.replaceAll(":8081", `:${port}`), page);
  context.after(() => runInContext("lhttp_client.conn.close()", page));
  // After the page's own handler, which subscribes, so that the message comes back to the page.
  await new Promise((resolve) => runInContext("lhttp_client.conn", page).addEventListener("open", resolve));
  runInContext('say("hi")', page);
  assert.deepEqual(await log.until(1), ["hi"]);
});
