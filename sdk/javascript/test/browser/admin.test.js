// The page for operators, in a real browser, of a real server under load.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertAccessible } from "./support/accessible.js";
import { open as openAny } from "./support/browser.js";
import { Lhttpd } from "./support/lhttpd.js";
import { stall, talk } from "./support/load.js";

const PHONE = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };
const ADMIN = ["--admin", "127.0.0.1:0"];
/** What a browser says by itself of a server that is gone. */
const GONE = /net::ERR_(CONNECTION_|EMPTY_RESPONSE|INCOMPLETE)/;

const open = (context, url, options = {}, expected = GONE) => openAny(context, url, options, expected);

/** A tile's number. */
const tile = (page, title) =>
  page.evaluate(
    (wanted) =>
      [...document.querySelectorAll("#tiles div")].find((one) => one.firstElementChild.textContent === wanted)
        .lastElementChild.firstElementChild.textContent,
    title,
  );

/** The texts of a table's rows. */
const rows = (page, table) =>
  page.evaluate(
    (table) =>
      [...document.querySelectorAll(`#${table} tbody tr`)].map((row) => [...row.cells].map((cell) => cell.textContent)),
    `${table}-table`,
  );

const isLive = (page) => page.waitForSelector('body[data-state="open"]');

/** Waits until the charts have lines. */
const hasLines = (page, points = 3) =>
  page.waitForFunction((points) => {
    const path = document.querySelector("figure:nth-child(2) path.series-1");
    return (path.getAttribute("d") ?? "").split("L").length >= points;
  }, points);

test("the figures of a server under load move", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  await talk(t, server);
  const page = await open(t, server.adminUrl);
  await isLive(page);
  await hasLines(page, 5);
  assert.match(await page.textContent("#version"), /^\d+\.\d+\.\d+$/);
  assert.ok(Number(await tile(page, "Connections")) >= 6);
  assert.ok(Number(await tile(page, "Messages in")) > 10);
  assert.ok(Number((await tile(page, "Deliveries")).replace(",", "")) > 50);
  assert.match(await tile(page, "Delivery, 99 %"), /^[\d.]+ (µs|ms|s)$/);
  assert.match(await tile(page, "Memory"), /^[\d.]+ MiB$/);
  await page.waitForFunction(() => document.querySelector("#channels-table tbody").rows.length === 3);
  const busiest = await rows(page, "channels");
  assert.deepEqual(
    busiest.map(([name]) => name),
    ["chat.lobby", "orders.new", "sensor.7"],
  );
  assert.ok(Number(busiest[0][1]) > Number(busiest[2][1]));
  const [core] = await rows(page, "cores");
  assert.equal(core[0], "0");
  assert.match(core[2], / %$/);
  const delivered = () =>
    page.evaluate(() => document.querySelector("#cores-table tbody").rows[0].cells[6].textContent);
  const before = await delivered();
  await page.waitForFunction(
    (before) => document.querySelector("#cores-table tbody").rows[0].cells[6].textContent !== before,
    before,
  );
});

test("a reader that stalls is told with its backlog, and then why it was closed", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN, "--send-buffer", "4KiB", "--outbox-max", "8MiB");
  await stall(t, server, "chat.lobby");
  await talk(t, server, { members: 1, body: "x".repeat(20_000) });
  const page = await open(t, server.adminUrl);
  await page.waitForFunction(() =>
    /MiB/.test(document.querySelector("#readers-table tbody td:nth-child(4)")?.textContent),
  );
  const [[id, user, address]] = await rows(page, "readers");
  assert.match(id, /^\d+-\d+-\d+$/);
  assert.equal(user, "–");
  assert.match(address, /^127\.0\.0\.1:\d+$/);
  await page.getByRole("cell", { name: "slow consumer" }).waitFor();
});

test("the configuration is shown as it runs, and no secret is in it", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN, "--publish-key", "hunter2", "--max-subscriptions", "17");
  const page = await open(t, server.adminUrl);
  await page.getByRole("row", { name: "max-subscriptions 17" }).waitFor();
  await page.getByRole("row", { name: "publish-key set" }).waitFor();
  assert.equal(await page.getByRole("rowheader", { name: "idle-timeout" }).count(), 0);
  await page.uncheck("#changed");
  await page.fill("#find", "idle");
  assert.deepEqual(
    (await rows(page, "configuration")).map(([name]) => name),
    ["idle-timeout"],
  );
  assert.doesNotMatch(await page.content(), /hunter2/);
});

test("the page says that the server is gone, and goes on when it is back", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  const page = await open(t, server.adminUrl);
  await hasLines(page);
  await server.kill();
  await page.waitForSelector('body[data-state="lost"]');
  assert.match(await page.getByRole("status").textContent(), /does not answer/);
  await server.start();
  await isLive(page);
  await page.waitForFunction(() => / [0-9] s$/.test(document.querySelector("#up").textContent));
});

test("a page whose key has changed says so", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  await server.kill();
  await server.start({ LHTTP_ADMIN_KEY: "hunter2" });
  const page = await open(
    t,
    server.adminUrl,
    { httpCredentials: { username: "x", password: "hunter2" } },
    /net::ERR_|401/,
  );
  await isLive(page);
  await server.kill();
  await server.start({ LHTTP_ADMIN_KEY: "hunter3" });
  await page.getByText("The key is not accepted").waitFor();
});

test("a page that nobody sees asks for nothing", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  const page = await open(t, server.adminUrl);
  await hasLines(page);
  const hide = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  let asked = 0;
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300))); // the request that was under way
  page.on("request", () => (asked += 1));
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 2500)));
  assert.equal(asked, 0);
  const answer = page.waitForResponse(/api\/status/);
  await hide(false);
  await answer;
});

for (const colorScheme of ["light", "dark"]) {
  for (const [kind, options] of [
    ["a desktop", {}],
    ["a phone", PHONE],
  ]) {
    test(`axe finds nothing on ${kind} in ${colorScheme} colours`, async (t) => {
      const server = await Lhttpd.start(t, ...ADMIN);
      await talk(t, server);
      await stall(t, server, "chat.lobby");
      const page = await open(t, server.adminUrl, { colorScheme, ...options });
      await hasLines(page);
      await page.uncheck("#changed");
      await assertAccessible(page, "live");
      await server.kill();
      await page.waitForSelector('body[data-state="lost"]');
      await assertAccessible(page, "without the server");
    });
  }
}

for (const width of [320, 360, 800, 1600]) {
  test(`nothing is wider than a screen of ${width} pixels`, async (t) => {
    const server = await Lhttpd.start(t, ...ADMIN);
    await talk(t, server, { rooms: [`a.${"very-long-name-".repeat(14)}x`, "b"] });
    const page = await open(t, server.adminUrl, { ...PHONE, viewport: { width, height: 700 } });
    await hasLines(page);
    await page.getByText("very-long-name").waitFor();
    await page.uncheck("#changed");
    const wide = await page.evaluate(() => {
      const all = [...document.querySelectorAll("body *")].filter(
        (one) => !one.closest(".scroll *, nav *, .unseen, svg *"),
      );
      const out = all.filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5);
      return [
        document.documentElement.scrollWidth > innerWidth && "the page",
        ...out.map((one) => one.outerHTML),
      ].filter(Boolean);
    });
    assert.deepEqual(wide, []);
  });
}

test("everything can be reached with the keyboard, and a chart tells its points", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  await talk(t, server);
  const page = await open(t, server.adminUrl);
  await hasLines(page, 5);
  const stops = [];
  for (let step = 0; step < 20; step += 1) {
    await page.keyboard.press("Tab");
    const [name, outline] = await page.evaluate(() => {
      const one = document.activeElement;
      const label = document.getElementById(one.getAttribute("aria-labelledby"))?.textContent;
      return [
        one.getAttribute("aria-label") ?? label ?? (one.textContent.trim() || one.id),
        getComputedStyle(one).outlineStyle,
      ];
    });
    assert.notEqual(outline, "none", `${name} shows that it has the focus`);
    stops.push(name);
  }
  assert.deepEqual(stops, [
    ...["Now", "Cores", "Channels", "Reasons", "Health", "Configuration", "Theme"],
    ...["Connections", "Messages a second", "Delivery latency", "Bytes a second", "Memory", "Processor"].map(
      (title) => `${title} over time`,
    ),
    ...["Cores", "Busiest channels", "Slowest readers", "Reasons for ends and refusals"],
    ...["find", "changed", "Configuration"],
  ]);
  const chart = page.getByRole("slider", { name: "Messages a second over time" });
  await chart.focus();
  assert.match(await chart.getAttribute("aria-valuetext"), /^now: in [\d.,]+, out [\d.,]+$/);
  await chart.press("ArrowLeft");
  assert.match(await chart.getAttribute("aria-valuetext"), /^[12] seconds? ago: in /);
  await chart.press("End");
  assert.match(await chart.getAttribute("aria-valuetext"), /^now: /);
});

test("the theme follows the system until another is chosen, which is remembered", async (t) => {
  const server = await Lhttpd.start(t, ...ADMIN);
  const page = await open(t, server.adminUrl, { colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await ground();
  await page.selectOption("#theme", "light");
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  await isLive(page);
  assert.equal(await ground(), light);
});
