// Tokens in a real browser, which sends them as a subprotocol and does not tell a page that the server refused one.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { without } from "../support/lhttpd.js";
import { makeToken } from "../support/token.js";
import { open } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const SECRET = "a secret of the test, 32 bytes or more";
const skip = without("--require-token");

test("a page connects with a token, and with the next one if the server has refused the first", { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-token-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const key = join(folder, "key");
  writeFileSync(key, SECRET, { mode: 0o600 });
  const server = await Lhttpd.start(t, "--token-key", key, "--require-token");
  // The page's policy allows no other script.
  const page = await open(t, server.url, { bypassCSP: true });
  await page.addScriptTag({ path: fileURLToPath(new URL("../../dist/lhttp.js", import.meta.url)) });
  const claims = {
    sub: "mike",
    exp: Math.floor(Date.now() / 1_000) + 3_600,
    "lhttp.subscribe": ["room"],
    "lhttp.publish": ["room"],
  };
  const tokens = [makeToken(claims, "the secret of somebody else, 32 bytes"), makeToken(claims, SECRET)];
  const seen = await page.evaluate(
    async ({ url, tokens }) => {
      const { connect } = /** @type {any} */ (globalThis).Lhttp;
      const asked = [];
      const errors = [];
      const token = async ({ reason }) => tokens[asked.push(reason) - 1];
      const lhttp = connect(url, { token, backoff: { initial: 20, max: 100 } });
      lhttp.on("state", ({ error }) => error && errors.push([error.code, error.message]));
      const got = new Promise((resolve) => lhttp.subscribe("room", (message) => resolve(message.body)));
      await lhttp.ready();
      await lhttp.publish("room", "hi");
      const forbidden = await lhttp.publish("other", "x").catch(({ code }) => code);
      const body = await got;
      lhttp.close();
      return { asked, errors, forbidden, body };
    },
    { url: server.socketUrl, tokens },
  );
  assert.deepEqual(seen, {
    asked: ["connect", "refused"],
    errors: [[0, "no connection (whether the server refused the token cannot be seen here)"]],
    forbidden: 403,
    body: "hi",
  });
});
