// The classic script in its own context, as in a page, with pages written for the old SDK.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

import { WebSocket } from "ws";

import { collector } from "./support/events.js";
import { fakeWebSocket } from "./support/fake-socket.js";
import { startLhttpd } from "./support/lhttpd.js";

const script = readFileSync(new URL("../dist/lhttp.js", import.meta.url), "utf8");

/** A page that has loaded the script. */
function page(globals = {}) {
  const context = createContext({
    WebSocket,
    TextEncoder,
    TextDecoder,
    console,
    performance,
    setTimeout,
    clearTimeout,
    ...globals,
  });
  runInContext(script, context, { filename: "lhttp.js" });
  return context;
}

/** The chat of the old demo: `say` publishes, and `show` gets the received messages. */
const CHAT = `
  var lhttp_client = new Lhttp(url);
  lhttp_client.on_message = function (context) {
    if (context.getBody() != "") show(context.getBody());
  };
  lhttp_client.on_open = function (context) {
    context.subscribe("chatroom", "chat", null, "");
    opened();
  };
  lhttp_client.on_close = function (context) { closed(context); };
  function say(text) { lhttp_client.context.publish("chatroom", "chat", null, text); }
`;

test("two pages of the old demo chat through a real server", async (context) => {
  const { url } = await startLhttpd(context);
  const open = async () => {
    const [show, opened] = [collector(), collector()];
    const one = page({ url, show, opened, closed: () => {} });
    context.after(() => runInContext("lhttp_client.conn.close()", one));
    runInContext(CHAT, one);
    await opened.until(1);
    return { say: (text) => one.say(text), show };
  };
  const mike = await open();
  // A page receives its own messages only after the subscription, so this proves that it is live.
  mike.say("is anybody here?");
  await mike.show.until(1);
  const jack = await open();
  jack.say("hello mike");
  await Promise.all([mike.show.until(2), jack.show.until(1)]);
  mike.say("hello: \r\n\r\n jack");
  await Promise.all([mike.show.until(3), jack.show.until(2)]);
  assert.deepEqual(mike.show.items, ["is anybody here?", "hello mike", "hello: \r\n\r\n jack"]);
  assert.deepEqual(jack.show.items, ["hello mike", "hello: \r\n\r\n jack"]);
});

test("a context sends the same as the old one, without the channels of earlier messages", () => {
  const Socket = fakeWebSocket();
  const one = page({ WebSocket: Socket });
  runInContext('var lhttp = new Lhttp("ws://localhost:8081/chat"); var context = lhttp.context;', one);
  Socket.last.readyState = 1;
  const sent = (code) => {
    runInContext(code, one);
    return Socket.last.sent.splice(0);
  };
  assert.deepEqual(sent('context.subscribe("room", "chat", null, "")'), ["LHTTP/1.0 chat\r\nsubscribe:room\r\n\r\n"]);
  assert.deepEqual(sent('context.publish("room", "say", {from: "mike"}, 7)'), [
    "LHTTP/1.0 say\r\npublish:room\r\nfrom:mike\r\n\r\n7",
  ]);
  // Added headers stay; the channel of the previous message does not.
  assert.deepEqual(sent('context.unsubscribe("room", "chat", null, "")'), [
    "LHTTP/1.0 chat\r\nunsubscribe:room\r\nfrom:mike\r\n\r\n",
  ]);
  assert.deepEqual(sent('context.unsubscribe("room")'), ["LHTTP/1.0 chat\r\nunsubscribe:room\r\nfrom:mike\r\n\r\n"]);
  assert.deepEqual(sent('context.addHeader("to", "jack"); context.setCommand("mail"); context.send("hi")'), [
    "LHTTP/1.0 mail\r\nfrom:mike\r\nto:jack\r\n\r\nhi",
  ]);
  assert.throws(() => sent('context.publish("room", "chat", {from: "a\\r\\nsubscribe:>"}, "x")'), {
    reason: "bad-header",
  });
  assert.throws(() => sent('context.publish("a..b", "chat", null, "x")'), { reason: "bad-channel" });
});

test("a context reads command, headers, body and parts", () => {
  const Socket = fakeWebSocket();
  const one = page({ WebSocket: Socket });
  const seen = collector();
  Object.assign(one, { seen });
  runInContext('var lhttp = new Lhttp("ws://localhost/"); lhttp.on_message = function (c) { seen(c); };', one);
  Socket.last.receive(
    "LHTTP/1.0 up\r\nFrom: mike \r\nurl:http://a:1\r\nmultipart:0 14\r\n\r\nk1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2",
  );
  Socket.last.receive(new TextEncoder().encode("LHTTP/1.0 bin\r\n\r\nü").buffer);
  Socket.last.receive("not LHTTP");
  const [up, binary, raw] = seen.items;
  assert.equal(up.getCommand(), "up");
  assert.equal(up.getBody(), "k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2");
  // The old SDK returned all headers, whatever the name.
  assert.equal(up.getHeader("url").From, "mike");
  assert.deepEqual(Object.keys(up.getHeader()), ["From", "url", "multipart"]);
  // Its guide promises the header of that name.
  assert.equal(`${up.getHeader("from")}`, "mike");
  assert.ok(up.getHeader("url") == "http://a:1" && up.getHeader("absent") == "");
  assert.deepEqual(
    [...up.getMultipart()].map(({ headers, body }) => [headers.k1 ?? headers.k2, body]),
    [
      ["v1", "body1"],
      ["v2", "body2"],
    ],
  );
  assert.deepEqual([binary.getCommand(), binary.getBody(), [...binary.getBytes()]], ["bin", "ü", [195, 188]]);
  assert.deepEqual([raw.getCommand(), raw.getBody(), raw.req.rawMessage], ["", "", "not LHTTP"]);
  // A method taken out of its context still knows the context, as in the old SDK.
  const { getBody } = binary;
  assert.equal(getBody(), "ü");
});

test("a handler answers with the command of the received message", () => {
  const Socket = fakeWebSocket();
  const one = page({ WebSocket: Socket });
  runInContext(
    'var lhttp = new Lhttp("ws://localhost/"); lhttp.on_message = function (c) { c.send("hello, there!"); };',
    one,
  );
  Socket.last.readyState = 1;
  Socket.last.receive("LHTTP/1.0 greet\r\npublish:room\r\n\r\nhi");
  assert.deepEqual(Socket.last.sent, ["LHTTP/1.0 greet\r\n\r\nhello, there!"]);
});

test("every callback gets a context, and is optional", () => {
  const Socket = fakeWebSocket();
  const one = page({ WebSocket: Socket });
  runInContext('var calls = []; var lhttp = new Lhttp("ws://localhost/");', one);
  const everything = () => {
    Socket.last.open();
    Socket.last.receive("LHTTP/1.0 c\r\n\r\n");
    Socket.last.onerror({});
    Socket.last.break();
  };
  everything();
  runInContext(
    '["open", "message", "error", "close"].forEach(function (name) {' +
      ' lhttp["on_" + name] = function (c) { calls.push(name + " " + (c instanceof Context)); }; });',
    one,
  );
  everything();
  assert.deepEqual([...one.calls], ["open true", "message true", "error true", "close true"]);
  // It does not reconnect, because such pages do that themselves.
  assert.equal(Socket.made.length, 1);
});

test("the script contains the new API too, and overwrites no global of a page", async (context) => {
  const { url } = await startLhttpd(context);
  const one = page({ url, Message: "the page's own" });
  assert.equal(one.Message, "the page's own");
  assert.equal(one.PROTOCOL_AND_VER, "LHTTP/1.0");
  const got = collector();
  Object.assign(one, { got });
  context.after(() => runInContext("lhttp.close()", one));
  await runInContext(
    `var lhttp = Lhttp.connect(url);
    (async function () {
      const room = await lhttp.subscribe("room", got);
      await room.publish("hi");
    })()`,
    one,
  );
  assert.equal((await got.until(1))[0].body, "hi");
});
