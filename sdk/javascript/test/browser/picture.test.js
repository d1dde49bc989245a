// The README's picture. It is written only with LHTTP_PICTURE=1. The test checks that it can be made, and that the one
// in the repository exists and is small. The text is drawn in the typeface Inter if that is installed (Debian:
// fonts-inter).

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

const PICTURE = new URL("../../../../docs/chat.png", import.meta.url);
const BYTES_MAX = 200_000;

test("the README's picture shows a conversation", async (t) => {
  const { url } = await Lhttpd.start(t);
  const linus = await visit(t, `${url}#harbour`, "Linus");
  const grace = await visit(t, `${url}#harbour`, "Grace Hopper");
  const ada = await visit(t, `${url}#harbour`, "Ada Lovelace", {
    colorScheme: "light",
    viewport: { width: 1040, height: 840 },
  });
  const say = async (person, text) => {
    await person.say(text);
    await ada.sees(text);
  };
  await say(grace, "The new buoy is out there and sending.");
  await say(grace, "One message a second, each to its own channel.");
  await say(ada, "Then buoy.* has all of them?");
  await say(linus, "It does. I am on the ferry, and they are coming in on my phone.");
  await say(ada, "Lovely. I have this room open in two windows.");
  await ada.join("engine-room");
  await grace.page.getByRole("link", { name: "lobby" }).click();
  for (const text of ["Coffee?", "In five minutes, downstairs."]) await grace.say(text);
  await ada.page.getByRole("link", { name: "lobby 2 unread" }).waitFor();
  for (const person of [ada, grace]) await person.page.getByRole("link", { name: "harbour" }).click();
  await say(grace, "So does everybody here, I think.");
  await ada.page.fill("#message", "Shall we");
  await ada.page.locator("#here li", { hasText: "Linus" }).waitFor();
  await linus.page.locator("#message").pressSequentially("I");
  await ada.page.getByText("Linus is writing…").waitFor();

  const picture = await ada.page.screenshot({ animations: "disabled", caret: "hide" });
  assert.ok(picture.length < BYTES_MAX, `${picture.length} bytes`);
  if (process.env.LHTTP_PICTURE) writeFileSync(PICTURE, picture);
  const kept = readFileSync(PICTURE);
  assert.ok(kept.length < BYTES_MAX && kept.subarray(1, 4).toString() === "PNG", `${kept.length} bytes are kept`);
});
