// A page written for the old SDK, in a real browser. Only the script's file is replaced.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";

import { open } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const SCRIPT = readFileSync(new URL("../../dist/lhttp.js", import.meta.url), "utf8");

/** As in the old guide, and nothing else. */
const PAGE = `<!doctype html>
<title>old page</title>
<link rel="icon" href="data:," />
<script src="lhttp-client.js"></script>
<ul id="said"></ul>
<form onsubmit="say(this.text.value); this.reset(); return false"><input name="text" /></form>
<script>
  var client = new Lhttp("SERVER");
  client.on_open = function (context) {
    context.subscribe("chatroom", "chat", null, "");
    document.title = "open";
  };
  client.on_message = function (context) {
    if (context.getBody() == "") return;
    var item = document.createElement("li");
    item.textContent = context.getHeader("from").from + ": " + context.getBody() + " (" + context.getCommand() + ")";
    document.getElementById("said").appendChild(item);
  };
  client.on_error = function (context) {
    document.title = "error";
  };
  client.on_close = function (context) {
    document.title = "closed";
  };
  function say(text) {
    client.context.publish("chatroom", "chat", { from: location.hash.slice(1) }, text);
  }
</script>`;

/** Serves the page and the script. */
async function serve(context, page) {
  const server = createServer(({ url }, answer) => {
    const isScript = url === "/lhttp-client.js";
    answer.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    answer.end(isScript ? SCRIPT : page);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}

test("a page of the old SDK chats, and notices that the server stops", async (t) => {
  const server = await Lhttpd.start(t);
  const url = await serve(t, PAGE.replace("SERVER", server.socketUrl));
  const visit = async (name) => {
    const page = await open(t, `${url}#${name}`);
    await page.waitForFunction(() => document.title === "open");
    return {
      page,
      say: async (text) => {
        await page.fill("input", text);
        await page.press("input", "Enter");
      },
      hears: async (...texts) => {
        await page
          .locator("li")
          .nth(texts.length - 1)
          .waitFor();
        assert.deepEqual(await page.locator("li").allTextContents(), texts);
      },
    };
  };
  const mike = await visit("mike");
  await mike.say("is anybody here?");
  await mike.hears("mike: is anybody here? (chat)");
  const jack = await visit("jack");
  await jack.say("hello: mike");
  await jack.hears("jack: hello: mike (chat)");
  await mike.hears("mike: is anybody here? (chat)", "jack: hello: mike (chat)");

  await server.kill();
  for (const { page } of [mike, jack]) await page.waitForFunction(() => document.title === "closed");
});
