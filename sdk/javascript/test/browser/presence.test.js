// Who is here and who is writing, as the chat room shows it.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket } from "ws";

import { connect } from "../../src/index.js";
import { open, visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

/** How long a user without a connection is still there. */
const GRACE = ["--presence-grace", "100ms"];

/** Waits until the page shows exactly these people. */
const here = (person, ...names) =>
  person.until((expected) => {
    const items = [...document.querySelectorAll("#here li")].map((item) => item.lastElementChild.textContent);
    return items.join("|") === expected;
  }, names.join("|"));

/** Waits until the page says exactly this of who is writing. */
const writing = (person, sentence) =>
  person.until((expected) => document.querySelector("#typing").textContent === expected, sentence);

/** A program in a room. */
function program(t, server) {
  const lhttp = connect(server.socketUrl, { WebSocket });
  t.after(() => lhttp.close());
  return lhttp;
}

test("two people see each other come, write, change their names, and leave", async (t) => {
  const { url } = await Lhttpd.start(t, ...GRACE);
  const ada = await visit(t, url, "Ada");
  await here(ada, "Ada (you)");
  await ada.page.getByText("Everybody here sees your name while you are here").waitFor();
  const grace = await visit(t, url, "Grace");
  await here(ada, "Ada (you)", "Grace");
  await here(grace, "Grace (you)", "Ada");

  await grace.page.locator("#message").pressSequentially("Hel");
  await writing(ada, "Grace is writing…");
  await writing(grace, "");
  await grace.page.locator("#message").pressSequentially("lo");
  await grace.page.keyboard.press("Enter");
  await ada.sees("Hello");
  assert.equal(await ada.page.textContent("#typing"), "", "the message ends it");
  await grace.page.locator("#message").pressSequentially("A");
  await writing(ada, "Grace is writing…");

  await grace.page.keyboard.press("Alt+n");
  await grace.page.fill("#name", "Admiral");
  await grace.page.keyboard.press("Enter");
  await here(ada, "Ada (you)", "Admiral");
  await here(grace, "Admiral (you)", "Ada");

  await grace.join("engine-room");
  await here(grace, "Admiral (you)");
  await here(ada, "Ada (you)", "Admiral");
  await grace.page.getByRole("link", { name: "lobby" }).click();
  await here(grace, "Admiral (you)", "Ada");
  await grace.page.click("#leave");
  await here(ada, "Ada (you)");
  await ada.page.close();
  const linus = await visit(t, url, "Linus");
  await here(linus, "Linus (you)");
});

test("the writing of somebody who does not finish ends by itself, and nobody is told of each key", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Ada");
  const grace = await visit(t, server.url, "Grace");
  const heard = [];
  const listener = await program(t, server).subscribe("typing.lobby", (message) => heard.push(message));
  await grace.page.locator("#message").pressSequentially("a message of many letters");
  await writing(ada, "Grace is writing…");
  await writing(ada, "");
  assert.equal(await grace.page.inputValue("#message"), "a message of many letters");
  assert.deepEqual(await ada.texts(), []);
  assert.ok(heard.length > 0 && heard.length < 6, `${heard.length} messages`);
  const late = [];
  await program(t, server).subscribe("typing.lobby", (message) => late.push(message), { last: 100 });
  assert.deepEqual([late, heard[0].header("message-id"), heard[0].text()], [[], undefined, ""]);
  await listener.unsubscribe();
});

test("nothing that strangers show becomes markup, and a crowd of names stays small", async (t) => {
  const server = await Lhttpd.start(t, ...GRACE);
  const ada = await visit(t, server.url, "Ada");
  const markup = "<img src=x onerror=alert()>";
  const cards = [
    JSON.stringify({ from: "1", name: `${markup} and more` }),
    JSON.stringify({ from: 2, name: { toString: 1 } }),
    JSON.stringify({ from: null, name: ["<b>x</b>"] }),
    markup,
    "null",
    "\u202e",
  ];
  const rooms = [];
  for (const info of cards) {
    const lhttp = program(t, server);
    rooms.push(await lhttp.subscribe("chat.lobby", () => {}, { info }));
  }
  await ada.until(() => document.querySelectorAll("#here li").length === 7);
  const shown = await ada.page.locator("#here bdi").allTextContents();
  assert.deepEqual(shown.filter((name) => name.includes("img")).toSorted(), [markup.slice(0, 24), markup.slice(0, 24)]);
  assert.equal(await ada.page.locator("main img, main script, #here b").count(), 0);
  for (const room of rooms) await room.unsubscribe();
  await here(ada, "Ada (you)");

  const crowd = [];
  for (let index = 0; index < 12; index += 1) {
    const info = JSON.stringify({ from: `${index}`, name: `Name ${String(index).padStart(2, "0")}` });
    crowd.push(await program(t, server).subscribe("chat.lobby", () => {}, { info }));
  }
  await ada.page.getByText("and 5 more").waitFor();
  assert.equal(await ada.page.locator("#here li").count(), 9);

  const [writer] = crowd;
  const typing = program(t, server);
  await typing.publish("typing.lobby", "<b>", { headers: { from: "0", name: markup } });
  await writing(ada, `${markup.slice(0, 24)} is writing…`);
  await typing.publish("typing.lobby", "", { headers: { from: "1" } });
  await writing(ada, `${markup.slice(0, 24)} and Somebody are writing…`);
  for (let index = 0; index < 50; index += 1) {
    await typing.publish("typing.lobby", "", { headers: { from: `x${index}`, name: `x${index}` } });
  }
  await writing(ada, "Several people are writing…");
  assert.equal(await ada.page.locator("#typing *").count(), 0);
  await writer.unsubscribe();
  await writing(ada, "");
});

test("a page that comes back shows who is there then", async (t) => {
  const server = await Lhttpd.start(t, ...GRACE);
  const ada = await visit(t, server.url, "Ada");
  const grace = await visit(t, server.url, "Grace");
  await here(ada, "Ada (you)", "Grace");
  await server.kill();
  await ada.state("waiting");
  assert.equal(await ada.page.locator("#here").isVisible(), false, "nobody knows");
  await grace.page.close();
  await server.start();
  await ada.state("open");
  await here(ada, "Ada (you)");
  const linus = await visit(t, server.url, "Linus");
  await here(ada, "Ada (you)", "Linus");
  await linus.page.reload();
  await linus.state("open");
  await here(ada, "Ada (you)", "Linus");
});

test("a name that is changed without a connection is the one that others see", async (t) => {
  const server = await Lhttpd.start(t, ...GRACE);
  const ada = await visit(t, server.url, "Ada");
  await server.kill();
  await ada.state("waiting");
  await ada.page.keyboard.press("Alt+n");
  await ada.page.fill("#name", "Countess");
  await ada.page.keyboard.press("Enter");
  await server.start();
  const grace = await visit(t, server.url, "Grace");
  await here(grace, "Grace (you)", "Countess");
});

test("where the operator's rules tell nobody who is there, the page shows nobody and says so", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-rules-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "lhttpd.toml");
  writeFileSync(file, '[[channel]]\nmatch = ">"\nhistory = 2\n');
  const { url } = await Lhttpd.start(t, "--config", file);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  await ada.page.getByText("if this server tells it, your name").waitFor();
  await grace.page.locator("#message").pressSequentially("x");
  await writing(ada, "Grace is writing…");
  assert.equal(await ada.page.locator("#here li, .note").count(), 0);
});
