// One Chromium for all tests of a file, and people who use it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { after } from "node:test";

import { chromium } from "playwright-core";

/** How long each step on a page may take. */
const PATIENCE = 20_000;

/** Chromium's own message about a server that is gone. */
const REFUSED = /^WebSocket connection to .* failed/;

function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const names = folders.flatMap((folder) =>
    ["chromium", "chromium-browser", "google-chrome"].map((name) => join(folder, name)),
  );
  const found = names.find((name) => existsSync(name));
  if (!found) throw new Error("there is no Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM");
  return found;
}

const browser = await chromium.launch({
  executablePath: executable(),
  // Chromium's sandbox does not work for root, nor in most containers. The tests open only our own pages.
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
after(() => browser.close());

/**
 * A person with their own browser, who has opened the chat room and given a name.
 * @param {import("node:test").TestContext} context At its end the page must have had no error.
 * @param {string} url
 * @param {string} name
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function visit(context, url, name, options = {}) {
  const person = await arrive(context, url, options);
  await person.page.fill("#name", name);
  await person.page.keyboard.press("Enter");
  await person.state("open");
  return person;
}

/**
 * The same, before the name is given.
 * @param {import("node:test").TestContext} context
 * @param {string} url
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function arrive(context, url, options = {}) {
  return new Person(await open(context, url, options));
}

/**
 * Any page, in its own browser.
 * @param {import("node:test").TestContext} context At its end the page must have had no error.
 * @param {string} url
 * @param {import("playwright-core").BrowserContextOptions} [options]
 * @param {RegExp} [expected] Errors that are no fault.
 */
export async function open(context, url, options = {}, expected = REFUSED) {
  const own = await browser.newContext({ locale: "en-GB", viewport: { width: 1120, height: 720 }, ...options });
  own.setDefaultTimeout(PATIENCE);
  const page = await own.newPage();
  /** @type {string[]} */
  const faults = [];
  // A violation of the content security policy is an error on the console too.
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected.test(message.text())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(`${error.stack}`));
  page.on("response", (response) => {
    const fault = `${response.status()} for ${response.url()}`;
    if (response.status() >= 400 && !expected.test(fault)) faults.push(fault);
  });
  context.after(async () => {
    await own.close();
    assert.deepEqual(faults, [], "errors on the page");
  });
  await page.goto(url);
  return page;
}

/** The actions of a person, and what they see. */
export class Person {
  /** @param {import("playwright-core").Page} page */
  constructor(page) {
    this.page = page;
    /** The lines of the open room. */
    this.lines = page.locator(".log:visible .line");
  }

  /** @param {string} text */
  async say(text) {
    await this.page.fill("#message", text);
    await this.page.press("#message", "Enter");
  }

  /**
   * @param {string} room
   * @param {string} [name] The room's name on the page.
   */
  async join(room, name = room) {
    await this.page.fill("#room", room);
    await this.page.press("#room", "Enter");
    await this.shows(name);
  }

  /** Waits until this room is open. */
  async shows(room) {
    await this.page.locator("#title", { hasText: new RegExp(`^${room}$`) }).waitFor();
  }

  /** Waits for a line with exactly this text, and returns it. */
  async sees(text) {
    const said = this.page.getByText(text, { exact: true });
    const line = this.lines.filter({ has: said }).first();
    await line.waitFor();
    return line;
  }

  /** All texts in the open room. */
  texts() {
    return this.page.locator(".log:visible .text").allTextContents();
  }

  /** Waits for a state of the connection. */
  async state(state) {
    await this.page.waitForSelector(`body[data-state="${state}"]`);
  }

  /**
   * Waits until a condition holds on the page.
   * @template T
   * @param {(argument: T) => unknown} condition
   * @param {T} [argument]
   */
  async until(condition, argument) {
    await this.page.waitForFunction(condition, argument);
  }
}
