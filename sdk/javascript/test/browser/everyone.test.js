// The chat room for everyone: by keyboard, by screen reader, in the dark, on a phone.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertAccessible } from "./support/accessible.js";
import { arrive, visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const PHONE = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };

for (const colorScheme of ["light", "dark"]) {
  for (const [kind, options] of [
    ["a desktop", {}],
    ["a phone", PHONE],
  ]) {
    test(`axe finds nothing on ${kind} in ${colorScheme} colours`, async (t) => {
      const server = await Lhttpd.start(t);
      const newcomer = await arrive(t, server.url, { colorScheme, ...options });
      await newcomer.page.locator("#naming").waitFor();
      await assertAccessible(newcomer.page, "asked for the name");

      const ada = await visit(t, server.url, "Ada Lovelace", { colorScheme, ...options });
      const others = [];
      for (const name of ["Grace", "Linus", "Barbara Liskov", "Edsger", "Radia"])
        others.push(await visit(t, server.url, name));
      for (const other of others) await other.say("hello");
      await ada.say("and a message of mine");
      await ada.page.locator('.own[data-fate="sent"]').waitFor();
      await ada.join("engine-room");
      await others[0].say("unread");
      await ada.page.locator(".badge:visible").waitFor();
      await assertAccessible(ada.page, "with an unread room");
      await ada.page.getByRole("link", { name: "lobby" }).click();
      await ada.page.locator(".new:visible").waitFor();
      await assertAccessible(ada.page, "in a conversation");

      await ada.page.evaluate(() => document.querySelector("#help").onclick());
      await assertAccessible(ada.page, "with the shortcuts shown");
      await ada.page.keyboard.press("Escape");
      await server.kill();
      await ada.state("waiting");
      await ada.say("is it on its way?");
      await ada.page.getByText("Not sent:").waitFor();
      await assertAccessible(ada.page, "without a connection");
    });
  }
}

test("on a phone nothing is wider than the screen", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Somebody With A Long Name", PHONE);
  const others = [];
  for (const name of ["Wilhelmina Featherstone", "Bartholomew", "Constantine", "Alexandria", "Maximiliane"]) {
    others.push(await visit(t, server.url, name));
  }
  const assertFits = async (what) => {
    const wide = await ada.page.evaluate(() => {
      const inside = (one) => one.closest("nav, .unseen, .who, template, dialog:not([open])");
      const all = [...document.querySelectorAll("body *")].filter((one) => !inside(one));
      const out = all.filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5);
      return [
        document.documentElement.scrollWidth > innerWidth && "the page",
        ...out.map((one) => one.outerHTML),
      ].filter(Boolean);
    });
    assert.deepEqual(wide, [], what);
  };
  await others[0].say("a".repeat(300));
  await ada.say(`https://example.com/${"path/".repeat(40)}`);
  await ada.sees("a".repeat(300));
  await assertFits("with long words");
  await ada.join("a-room-with-a-name-of-30-signs");
  for (const room of ["two", "three", "four", "five"]) await ada.join(room);
  await assertFits("with many rooms");
  const link = await ada.page.locator("nav [aria-current]").boundingBox();
  assert.ok(link.x >= 0 && link.x + link.width <= 360, "the link of the open room is visible");
  await server.kill();
  await ada.state("waiting");
  await ada.say("is it on its way?");
  await ada.page.getByText("Not sent:").waitFor();
  await assertFits("without a connection");
});

test("everything can be reached and done with the keyboard", async (t) => {
  const { url } = await Lhttpd.start(t);
  const person = await visit(t, url, "Grace");
  const keys = person.page.keyboard;
  const focused = () =>
    person.page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  await keys.press("Alt+j");
  assert.equal(await focused(), "room");
  await keys.type("engine room");
  await keys.press("Enter");
  await person.shows("engine-room");
  assert.equal(await focused(), "message");
  await keys.press("Alt+ArrowUp");
  await person.shows("lobby");
  await keys.press("Alt+ArrowUp");
  await person.shows("engine-room");
  await keys.press("Alt+ArrowDown");
  await person.shows("lobby");
  assert.equal(await focused(), "message", "opening another room keeps the cursor in the message");

  await keys.press("Alt+h");
  await person.page.locator("#keys").waitFor();
  await keys.press("Escape");
  await person.page.locator("#keys").waitFor({ state: "hidden" });
  await person.page.focus("#theme");
  await keys.press("Escape");
  assert.equal(await focused(), "message");

  const stops = [
    "lobby",
    "engine-room",
    "room",
    "Join",
    "rename",
    "theme",
    "help",
    "leave",
    "Messages in lobby",
    "message",
  ];
  await person.page.locator("nav a").first().focus();
  for (const stop of stops) {
    const [name, outline] = await person.page.evaluate(() => {
      const { id, ariaLabel, textContent } = document.activeElement;
      return [id || ariaLabel || textContent.trim(), getComputedStyle(document.activeElement).outlineStyle];
    });
    assert.ok(name.startsWith(stop), `${stop} comes, not ${name}`);
    assert.notEqual(outline, "none", `${stop} shows that it has the focus`);
    await keys.press("Tab");
  }
  assert.equal(await focused(), "Send");
});

test("the theme follows the system until another is chosen, which is remembered", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada", { colorScheme: "dark" });
  const isDark = () =>
    ada.page.evaluate(() => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = "light-dark(white, black)";
      const { color } = getComputedStyle(probe);
      probe.remove();
      return color === "rgb(0, 0, 0)";
    });
  assert.equal(await isDark(), true);
  await ada.page.selectOption("#theme", "light");
  assert.equal(await isDark(), false);
  await ada.page.reload();
  await ada.state("open");
  assert.equal(await isDark(), false);
  await ada.page.selectOption("#theme", "auto");
  assert.equal(await isDark(), true);
});

test("a screen reader announces messages and the state of the connection", async (t) => {
  const { url } = await Lhttpd.start(t);
  const ada = await visit(t, url, "Ada");
  const grace = await visit(t, url, "Grace");
  await grace.say("hello");
  await grace.say("again");
  const log = ada.page.getByRole("log", { name: "Messages in lobby" });
  const tree = await (await ada.sees("again"), log.ariaSnapshot());
  assert.match(tree, /Grace[^]*hello[^]*Grace[^]*again/, "each line with its name, grouped or not");
  assert.equal(await ada.page.getByRole("status").textContent(), "Connected");
  assert.equal(await ada.page.getByRole("navigation", { name: "Rooms" }).count(), 1);
  assert.equal(await ada.page.getByRole("main").count(), 1);
  assert.equal(await ada.page.getByRole("textbox", { name: "Message" }).count(), 1);
});
