// The chat room as people use it: real browsers, a real server.

import assert from "node:assert/strict";
import { test } from "node:test";

import { arrive, visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

test("the page connects and says so", async (t) => {
  const { url } = await Lhttpd.start(t);
  const { page } = await visit(t, url, "Ada");
  assert.equal(await page.textContent("#state"), "Connected");
  assert.equal(await page.title(), "lobby · lhttp chat");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "message");
});

test("two people chat, and each sees every message once, with its name and time", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada Lovelace");
  const grace = await visit(t, url, "Grace");
  await ada.say("Hello Grace");
  const heard = await grace.sees("Hello Grace");
  assert.equal(await heard.locator("b").textContent(), "Ada Lovelace");
  assert.match(await heard.locator("time").textContent(), /^\d\d:\d\d$/);
  assert.equal(await heard.locator(".avatar").textContent(), "AL");

  await grace.say("Hello Ada");
  await ada.sees("Hello Ada");
  await grace.page.locator('.own[data-fate="sent"]').waitFor();
  assert.deepEqual(await ada.texts(), ["Hello Grace", "Hello Ada"]);
  assert.deepEqual(await grace.texts(), ["Hello Grace", "Hello Ada"]);
});

test("consecutive messages of one person share one name", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  for (const text of ["one", "two", "three"]) await ada.say(text);
  await grace.sees("three");
  await grace.say("four");
  await ada.sees("four");
  await ada.say("five");
  await grace.sees("five");
  assert.deepEqual(await grace.page.locator(".line.head .text").allTextContents(), ["one", "four", "five"]);
  assert.equal(await grace.page.locator(".day").count(), 1);
});

test("markup in a message, a name and a room stays text", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, `${url}#<img src=x onerror=alert(1)>`, "<i>Ada</i>");
  const room = await ada.page.textContent("#title");
  const grace = await visit(t, `${url}#${encodeURIComponent(room)}`, "Grace");
  const hostile = "<img src=x onerror=\"document.title='gone'\"><script>alert(1)</script> & <b>bold</b>";
  await ada.say(hostile);
  const line = await grace.sees(hostile);
  assert.equal(await line.locator("p.who b").textContent(), "<i>Ada</i>");
  assert.equal(await grace.page.locator("main img, main script, .text *, .who i").count(), 0);
  assert.equal(room, "img-src-x-onerror-alert-1");
});

test("a message of several lines keeps them, and an empty one is not sent", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  await ada.say("   ");
  await ada.page.fill("#message", "one");
  await ada.page.press("#message", "Shift+Enter");
  await ada.page.keyboard.type("two");
  await ada.page.press("#message", "Enter");
  await ada.page.locator('.own[data-fate="sent"]').waitFor();
  assert.deepEqual(await ada.texts(), ["one\ntwo"]);
});

test("a room in the background is marked as unread until it is opened", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  await grace.say("zero");
  await ada.sees("zero");
  await ada.join("engine room", "engine-room");
  await grace.say("one");
  await grace.say("two");
  const link = ada.page.getByRole("link", { name: "lobby 2 unread" });
  await link.waitFor();
  assert.equal(await ada.page.title(), "(2) engine-room · lhttp chat");
  await link.click();
  await ada.shows("lobby");
  await ada.until(() => document.title === "lobby · lhttp chat");
  assert.equal(await ada.page.locator(".badge:visible").count(), 0);
  const after = ada.page.locator(".new + .line");
  assert.equal(await after.locator(".text").textContent(), "one", "the mark is before the first unread message");
  assert.match(
    await after.getAttribute("class"),
    /\bhead\b/,
    "and that message has its name, although she spoke just before",
  );
});

test("a room that the server refuses is shown as refused, and can be left", async (t) => {
  const { url } = await Lhttpd.start(t, "--max-subscriptions", "1");
  const ada = await visit(t, url, "Ada");
  await ada.join("two");
  await ada.page.getByText("You are not in this room:").waitFor();
  await ada.page.click("#leave");
  await ada.shows("lobby");
  await ada.say("still here");
  await ada.page.locator('.own[data-fate="sent"]').waitFor();
});

test("a reader who has scrolled back is not moved, and is told of new messages", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  for (let number = 0; number < 30; number += 1) await grace.say(`number ${number}`);
  await ada.sees("number 29");
  assert.equal(await ada.page.evaluate(() => document.querySelector(".log").scrollTop), 0, "it follows the end");
  await ada.page.evaluate(() => (document.querySelector(".log").scrollTop = -400));
  const first = await (await ada.sees("number 10")).boundingBox();
  await grace.say("number 30");
  await ada.until(() => document.title.startsWith("(1)"));
  const second = await (await ada.sees("number 10")).boundingBox();
  assert.ok(Math.abs(first.y - second.y) < 2, `moved from ${first.y} to ${second.y}`);
  await ada.page.evaluate(() => (document.querySelector(".log").scrollTop = 0));
  await ada.until(() => !document.title.startsWith("("));
});

test("the address of a room opens that room for others", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  await ada.join("Königsberg 7", "königsberg-7");
  const grace = await visit(t, ada.page.url(), "Grace");
  await grace.shows("königsberg-7");
  await grace.say("here");
  await ada.sees("here");
});

test("the name and the rooms are remembered, and a room that was left is not", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  await ada.join("one");
  await ada.join("two");
  await ada.page.click("#leave");
  await ada.shows("lobby");
  await ada.page.reload();
  await ada.state("open");
  assert.equal(await ada.page.locator("#rename b").textContent(), "Ada");
  assert.deepEqual(await ada.page.locator("nav a span").allTextContents(), ["lobby", "one"]);
  const grace = await visit(t, `${url}#two`, "Grace");
  await grace.say("nobody hears this");
  await grace.page.locator('.own[data-fate="sent"]').waitFor();
  assert.deepEqual(await ada.page.locator(".text").allTextContents(), []);
});

test("a changed name applies to later messages", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  await grace.say("before");
  await grace.page.keyboard.press("Alt+n");
  await grace.page.fill("#name", "Admiral");
  await grace.page.keyboard.press("Enter");
  await grace.say("after");
  await ada.sees("after");
  assert.deepEqual(await ada.page.locator(".head .who b").allTextContents(), ["Grace", "Admiral"]);
});

test("messages that a program publishes to the channel are shown", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Ada");
  assert.equal(await server.publish("LHTTP/1.0 chat\r\npublish:chat.lobby\r\n\r\nhello from curl"), 200);
  const line = await ada.sees("hello from curl");
  assert.equal(await line.locator("b").textContent(), "Somebody");
});

test("the page asks for a name once, and Escape gives none", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await arrive(t, url);
  await ada.page.locator("#naming").waitFor();
  await ada.page.keyboard.press("Escape");
  await ada.state("open");
  assert.equal(await ada.page.locator("#rename b").textContent(), "Somebody");
});
