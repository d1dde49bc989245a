// What the chat room shows of before: to those who open it, and to those who come back.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Person, open, visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const numbered = (count) => Array.from({ length: count }, (_, index) => `number ${index}`);

/** A person whose connection the test takes away, and gives back. */
async function visitByWire(t, server, name) {
  let isAway = false;
  let current;
  const page = await open(t, "about:blank");
  await page.routeWebSocket(server.socketUrl, (socket) => {
    if (isAway) return void socket.close({ code: 4000 });
    socket.connectToServer();
    current = socket;
  });
  await page.goto(server.url);
  const person = new Person(page);
  await page.fill("#name", name);
  await page.keyboard.press("Enter");
  await person.state("open");
  const leave = async () => {
    isAway = true;
    await current.close({ code: 4000 });
    await person.until(() => document.body.dataset.state !== "open");
  };
  const comeBack = async () => {
    isAway = false;
    await person.state("open");
  };
  return Object.assign(person, { leave, comeBack });
}

test("a page that opens shows the last messages of its rooms, which are not unread", async (t) => {
  const server = await Lhttpd.start(t);
  const yesterday = Date.now() - 86_400_000;
  for (const text of numbered(103)) {
    const said = `LHTTP/1.0 chat\r\npublish:chat.lobby\r\nname:Ada\r\nkey:${text}\r\ntime:${yesterday}\r\n\r\n${text}`;
    assert.equal(await server.publish(said), 200);
  }
  assert.equal(await server.publish("LHTTP/1.0 chat\r\npublish:chat.two\r\n\r\nof before"), 200);
  const grace = await visit(t, server.url, "Grace");
  await grace.page.getByText("You see the last 100 messages of this room").waitFor();
  await grace.sees("number 102");
  assert.deepEqual(await grace.texts(), numbered(103).slice(3));
  assert.equal(await (await grace.sees("number 3")).locator("b").textContent(), "Ada");
  const { clock, day } = await grace.page.evaluate((time) => {
    const at = new Date(time);
    return {
      clock: at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
      day: at.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" }),
    };
  }, yesterday);
  assert.equal(await (await grace.sees("number 102")).locator("time").textContent(), clock);
  assert.deepEqual(await grace.page.locator(".log:visible .day").allTextContents(), [day]);

  await grace.join("two");
  await grace.sees("of before");
  await grace.page.reload();
  await grace.state("open");
  await grace.sees("of before");
  assert.equal(await grace.page.title(), "two · lhttp chat", "nothing is unread");
});

test("a page that was away misses nothing, and shows each message once", async (t) => {
  const server = await Lhttpd.start(t);
  const grace = await visitByWire(t, server, "Grace");
  const ada = await visit(t, server.url, "Ada");
  await grace.say("before");
  await ada.sees("before");
  for (const round of [0, 1]) {
    await grace.leave();
    for (let number = 0; number < 20; number += 1) await ada.say(`${round}.${number}`);
    await ada.page
      .locator('.own[data-fate="sent"]')
      .nth(round * 20 + 19)
      .waitFor();
    await grace.comeBack();
    await grace.sees(`${round}.19`);
  }
  const expected = [0, 1].flatMap((round) => Array.from({ length: 20 }, (_, number) => `${round}.${number}`));
  assert.deepEqual(await grace.texts(), ["before", ...expected]);
  assert.equal(await grace.page.getByText("may be missing").count(), 0);
});

test("after a reload the page shows the own messages as own ones", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  await ada.say("mine");
  await ada.page.locator('.own[data-fate="sent"]').waitFor();
  await ada.page.reload();
  await ada.sees("mine");
  assert.equal(await ada.page.locator(".own .text").textContent(), "mine");
});

test("a server that has restarted has forgotten the messages, and the page says so", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Ada");
  await ada.say("before");
  await ada.page.locator('.own[data-fate="sent"]').waitFor();
  await server.kill();
  await ada.state("waiting");
  await server.start();
  await ada.page.getByText("Some messages may be missing here").waitFor();
  await ada.state("open");
  const grace = await visit(t, server.url, "Grace");
  await ada.say("after");
  await grace.sees("after");
  assert.deepEqual(await grace.texts(), ["after"]);
  assert.deepEqual(await ada.texts(), ["before", "after"]);
});

test("the rules of the operator count, and the page promises no more", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-rules-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "lhttpd.toml");
  writeFileSync(file, '[[channel]]\nmatch = ">"\nhistory = 2\n');
  const { url } = await Lhttpd.start(t, "--config", file);
  const ada = await visit(t, url, "Ada");
  for (const text of ["one", "two", "three"]) await ada.say(text);
  await ada.page.locator('.own[data-fate="sent"]').nth(2).waitFor();
  const grace = await visit(t, url, "Grace");
  await grace.page.getByText("what this server keeps of before").waitFor();
  await grace.sees("three");
  assert.deepEqual(await grace.texts(), ["two", "three"]);
  assert.equal(await grace.page.getByText("the last 100 messages").isVisible(), false);
});
