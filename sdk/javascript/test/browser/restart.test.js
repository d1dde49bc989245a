// The server stops and comes back while people chat.

import assert from "node:assert/strict";
import { test } from "node:test";

import { visit } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";

test("the server is killed and restarted under two people, and no message is lost once both are back", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Ada");
  const grace = await visit(t, server.url, "Grace");
  await ada.say("before");
  await grace.sees("before");

  for (const round of [1, 2]) {
    await server.kill();
    await Promise.all([ada.state("waiting"), grace.state("waiting")]);
    await server.start();
    await Promise.all([ada.state("open"), grace.state("open")]);
    for (let number = 0; number < 10; number += 1) {
      await ada.say(`Ada ${round}.${number}`);
      await grace.say(`Grace ${round}.${number}`);
    }
    await grace.sees(`Ada ${round}.9`);
    await ada.sees(`Grace ${round}.9`);
  }
  const of = (name) =>
    [1, 2].flatMap((round) => Array.from({ length: 10 }, (_, number) => `${name} ${round}.${number}`));
  for (const person of [ada, grace]) {
    const texts = await person.texts();
    for (const name of ["Ada", "Grace"])
      assert.deepEqual(
        texts.filter((text) => text.startsWith(`${name} `)),
        of(name),
      );
    assert.equal(texts.length, 41, "each once");
    assert.equal(await person.page.locator('[data-fate="failed"]').count(), 0);
  }
});

test("while the server is gone the page says so, and an unsent message is marked and can be retried", async (t) => {
  const server = await Lhttpd.start(t);
  const ada = await visit(t, server.url, "Ada");
  const grace = await visit(t, server.url, "Grace");
  await server.kill();
  await ada.until(() => {
    const shown = document.querySelector(".state").innerText.replace(/\s+/g, " ");
    return /^Not connected Next try in \d+ s$/.test(shown);
  });
  await ada.page.getByText("The connection is lost.").waitFor();
  await ada.say("is anybody there?");
  const line = await ada.sees("is anybody there?");
  await line.getByText("Not sent:").waitFor();

  await line.getByRole("button", { name: "Try again" }).click(); // there is still no server
  await line.getByText("Not sent:").waitFor();
  await server.start();
  await Promise.all([ada.state("open"), grace.state("open")]);
  await ada.page.getByText("Connected again.").waitFor();
  assert.equal(await ada.page.textContent("#state"), "Connected");
  assert.deepEqual(await grace.texts(), []);

  await line.getByRole("button", { name: "Try again" }).click();
  await grace.sees("is anybody there?");
  await ada.page.locator('.own[data-fate="sent"]').waitFor();
  assert.deepEqual(await ada.texts(), ["is anybody there?"]);
  assert.deepEqual(await grace.texts(), ["is anybody there?"]);
});
