// Environments that lack something: Jest's, with or without jsdom, and old runtimes. Like Jest, each test runs the
// CommonJS file in a separate context that has only the globals given to it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

import { WebSocket } from "ws";

import { collector } from "./support/events.js";
import { fakeWebSocket, settled } from "./support/fake-socket.js";
import { startLhttpd } from "./support/lhttpd.js";

const code = readFileSync(new URL("../dist/lhttp.cjs", import.meta.url), "utf8");

/** The globals of every environment; nothing else of Node's is there. */
const timers = { setTimeout, clearTimeout };

/** The result of `require` there. */
function load(globals) {
  const module = { exports: {} };
  const context = createContext({ ...globals, module });
  runInContext(`(function (module, exports) { ${code}\n})(module, module.exports);`, context);
  return /** @type {typeof import("../src/index.js")} */ (module.exports);
}

const environments = {
  "no TextEncoder, no TextDecoder, nothing but timers": { ...timers },
  "a TextEncoder whose bytes are of another realm": { ...timers, TextEncoder, TextDecoder, performance },
  "a window, as in jsdom": { ...timers, window: new EventTarget(), document: new EventTarget(), performance },
};

for (const [name, globals] of Object.entries(environments)) {
  test(`it works where there is ${name}`, async (context) => {
    const { url } = await startLhttpd(context);
    const { connect, multipart } = load(globals);
    const client = connect(url, { WebSocket });
    context.after(() => client.close());
    const got = collector();
    await client.subscribe("röom", got);
    await client.publish("röom", "ü€😀", { timeout: 10_000 });
    await client.publish("röom", new TextEncoder().encode("bytes ü").buffer);
    await client.publish("röom", multipart([{ body: "😀" }, { body: new Uint8Array([0xff, 0]) }]));
    const [text, bytes, parts] = await got.until(3);
    assert.equal(text.text(), "ü€😀");
    assert.equal(bytes.text(), "bytes ü");
    assert.deepEqual([...parts.parts()[1].bytes()], [0xff, 0]);
    assert.equal(parts.parts()[0].text(), "😀");
    await assert.rejects(client.publish("a..b"), { reason: "bad-channel" });
  });
}

test("without a WebSocket the error says what to do", () => {
  assert.throws(() => load(timers).connect("ws://test/"), {
    name: "TypeError",
    message: "there is no global WebSocket here (Node before 22): pass one in options.WebSocket",
  });
});

test("an aborted call ends where there is no DOMException", async () => {
  const client = load(timers).connect("ws://test/", { WebSocket: fakeWebSocket() });
  const signal = Object.assign(new EventTarget(), { aborted: true });
  await assert.rejects(client.publish("a", "x", { signal }), {
    name: "AbortError",
    message: "the operation was aborted",
  });
  client.close();
});

/** Fake timers like Jest's: they replace every clock and every wait. */
function fakeTimers() {
  let time = 0;
  let ids = 0;
  const waiting = new Map();
  const start = (callback, delay = 0) => {
    ids += 1;
    waiting.set(ids, { callback, at: time + Math.max(delay, 0) });
    return ids;
  };
  const stop = (id) => void waiting.delete(id);
  /** Each timer sees the time at which it is due, as with `jest.advanceTimersByTime`. */
  const advance = (by) => {
    const end = time + by;
    for (;;) {
      const [next] = [...waiting].sort(([, one], [, other]) => one.at - other.at);
      if (!next || next[1].at > end) break;
      const [id, { callback, at }] = next;
      waiting.delete(id);
      time = at;
      callback();
    }
    time = end;
  };
  const globals = { setTimeout: start, setImmediate: start, clearTimeout: stop, clearImmediate: stop };
  return { advance, globals: { ...globals, performance: { now: () => time } } };
}

test("fake timers reach every time limit", async () => {
  const { advance, globals } = fakeTimers();
  const Socket = fakeWebSocket();
  const client = load(globals).connect("ws://test/", { WebSocket: Socket, random: () => 0.5 });
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  advance(10_000);
  advance(250);
  Socket.last.open();
  await settled();
  const published = assert.rejects(client.publish("a", "x"), { reason: "timeout" });
  const limited = assert.rejects(client.publish("a", "x", { timeout: 1_000 }), { reason: "timeout" });
  advance(10_000);
  await Promise.all([published, limited]);
  assert.equal(client.state, "open");
  advance(15_000);
  assert.equal(Socket.last.take().pop().command, "lhttp-ping");
  advance(10_000);
  assert.deepEqual(states, ["waiting", "connecting", "open", "waiting"]);
  client.close();
});
