// The pictures of the page for operators in the docs. They are written only with LHTTP_PICTURE=1, which takes two minutes
// and needs pngquant. The test checks that they can be made, and that those in the repository exist and are small. The text
// is drawn in the typeface Inter if that is installed (Debian: fonts-inter).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { open } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";
import { stall, talk } from "./support/load.js";

const BYTES_MAX = 120_000;
const GONE = /net::ERR_/;
const POINTS = process.env.LHTTP_PICTURE ? 100 : 3;
const ROOMS = ["chat.lobby", "orders.new", "sensor.roof.7", "chat.engine-room", "alerts.eu", "sensor.cellar.1"];

const SIZES = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

test("the pictures show a server at work, on a desktop and a phone, light and dark", async (t) => {
  const server = await Lhttpd.start(
    t,
    "--admin",
    "127.0.0.1:0",
    "--send-buffer",
    "4KiB",
    "--outbox-max",
    "60MiB",
    "--idle-timeout",
    "10m",
  );
  await talk(t, server, { rooms: ROOMS, members: 30, waves: true });
  for (let number = 0; number < 3; number += 1) await stall(t, server, ROOMS[number]);
  const pages = [];
  for (const [kind, options] of Object.entries(SIZES)) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(t, server.adminUrl, { ...options, colorScheme }, GONE);
      pages.push({ name: `admin-${kind}-${colorScheme}.png`, page });
    }
  }
  const pictures = [];
  for (const { name, page } of pages) {
    await page.waitForFunction(
      (points) => document.querySelector("figure:nth-child(2) path").getAttribute("d")?.split("L").length >= points,
      POINTS,
      { timeout: 180_000 },
    );
    pictures.push([name, await page.screenshot({ animations: "disabled", fullPage: name.includes("desktop") })]);
  }
  for (const [name, picture] of pictures) {
    const place = new URL(`../../../../docs/${name}`, import.meta.url);
    if (process.env.LHTTP_PICTURE) {
      writeFileSync(place, execFileSync("pngquant", ["--speed", "1", "128", "-"], { input: picture }));
    }
    const kept = readFileSync(place);
    assert.ok(kept.length < BYTES_MAX && kept.subarray(1, 4).toString() === "PNG", `${name}: ${kept.length} bytes`);
  }
});
