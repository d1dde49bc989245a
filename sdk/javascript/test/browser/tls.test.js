// A page on https://, which may open wss:// only, in a real browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { open } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const SCRIPT = readFileSync(new URL("../../dist/lhttp.js", import.meta.url), "utf8");

/** Shows what it receives; says in its title whether it is connected. */
const PAGE = `<!doctype html>
<title>page</title>
<link rel="icon" href="data:," />
<script src="lhttp.js"></script>
<ul id="said"></ul>
<script>
  const client = Lhttp.connect("SERVER");
  client.subscribe("room", (message) => {
    const item = document.createElement("li");
    item.textContent = message.body.length > 100 ? "long " + message.body.length : message.body;
    document.getElementById("said").append(item);
  }).then(() => (document.title = "subscribed"));
</script>`;

/** A certificate for 127.0.0.1 that nobody has signed, in files. */
function certificate(t) {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-tls-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", "-x509", ...ec, "-days", "2", ...name, "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  return { key, cert };
}

test("a page on https:// publishes and subscribes over wss://", async (t) => {
  const { key, cert } = certificate(t);
  const server = await Lhttpd.start(t, "--tls-cert", cert, "--tls-key", key, "--listen", "tls://127.0.0.1:0");
  const pages = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    const isScript = request.url === "/lhttp.js";
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? SCRIPT : PAGE.replace("SERVER", server.secureUrl));
  });
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
  t.after(() => pages.close());

  const url = `https://127.0.0.1:${pages.address().port}/`;
  const visits = [];
  for (let count = 0; count < 2; count++) {
    const page = await open(t, url, { ignoreHTTPSErrors: true });
    await page.waitForFunction(() => document.title === "subscribed");
    visits.push(page);
  }
  const [ada, grace] = visits;
  await ada.evaluate(() => client.publish("room", "hello over TLS"));
  await grace.evaluate(() => client.publish("room", "x".repeat(40_000)));
  assert.equal(await server.publish("LHTTP/1.0 chat\r\npublish:room\r\n\r\nfrom outside"), 200);
  for (const page of visits) {
    await page.locator("li").nth(2).waitFor();
    const texts = await page.locator("li").allTextContents();
    assert.deepEqual(texts.toSorted(), ["from outside", "hello over TLS", "long 40000"]);
  }
});
