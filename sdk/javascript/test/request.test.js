// Requests to an upstream, against a small server that answers as PROTOCOL.md §5 says.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { connect } from "../src/index.js";
import { decodeMessage } from "../src/message.js";
import { collector } from "./support/events.js";

/** A client whose server calls `answer` with each message and a function that sends. */
async function withServer(context, answer) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => {
      const raw = isBinary ? new Uint8Array(data) : data.toString();
      answer(decodeMessage(raw), (text) => socket.send(text));
    });
  });
  const client = connect(`ws://127.0.0.1:${server.address().port}/`, { WebSocket });
  context.after(() => {
    client.close();
    server.close();
  });
  return client;
}

const reply = (message, status, body) =>
  `LHTTP/1.0 ${message.command}\r\nupstream-status:${status}\r\ncontent-type:text/plain\r\nack:${message.header("ack")}\r\n\r\n${body}`;

test("a request asks for a reply, and returns the upstream's answer", async (context) => {
  const asked = collector();
  const client = await withServer(context, (message, send) => {
    asked(message);
    // The acknowledgement says that the request is in progress, and is not the reply.
    send(`LHTTP/1.0 ack\r\nack:${message.header("ack")}\r\n\r\n`);
    send(reply(message, 404, "not there"));
  });
  const answer = await client.request("POST http://host/path?a=b", {
    command: "record",
    headers: { "content-type": "text/plain" },
    body: "hello",
  });
  assert.deepEqual([answer.status, answer.ok, answer.text()], [404, false, "not there"]);
  assert.equal(answer.header("content-type"), "text/plain");
  const [message] = asked.items;
  assert.deepEqual([message.command, message.body], ["record", "hello"]);
  assert.equal(message.header("upstream"), "POST http://host/path?a=b");
  assert.equal(message.header("upstream-reply"), "true");
});

test("replies find their requests, in whatever order they come", async (context) => {
  const waiting = [];
  const client = await withServer(context, (message, send) => {
    waiting.push(message);
    if (waiting.length < 3) return;
    for (const one of waiting.reverse()) send(reply(one, 200, one.header("upstream")));
  });
  const answers = await Promise.all(["a", "b", "c"].map((path) => client.request(`GET http://host/${path}`)));
  assert.deepEqual(
    answers.map((answer) => answer.text()),
    ["GET http://host/a", "GET http://host/b", "GET http://host/c"],
  );
  assert.ok(answers.every(({ ok }) => ok));
});

test("an upstream that fails rejects with the server's error", async (context) => {
  const client = await withServer(context, (message, send) => {
    send(
      `LHTTP/1.0 error\r\ncode:504\r\nreason:upstream-timeout\r\nack:${message.header("ack")}\r\n\r\nno answer in 10 s`,
    );
  });
  await assert.rejects(client.request("GET http://host/"), { code: 504, reason: "upstream-timeout" });
});

test("a request without an answer ends with its time limit or signal", async (context) => {
  const client = await withServer(context, () => {});
  await assert.rejects(client.request("GET http://host/", { timeout: 20 }), { reason: "timeout" });
  await assert.rejects(client.request("GET http://host/", { signal: AbortSignal.timeout(20) }), {
    name: "TimeoutError",
  });
});

test("a message that others publish is never taken for a reply, an acknowledgement or an error", async (context) => {
  const client = await withServer(context, (message, send) => {
    const ack = message.header("ack");
    if (message.header("upstream") === undefined) return send(`LHTTP/1.0 ack\r\nack:${ack}\r\n\r\n`);
    for (const command of ["ack", "error", "chat"]) {
      send(`LHTTP/1.0 ${command}\r\npublish:room\r\nupstream-status:200\r\ncode:500\r\nack:${ack}\r\n\r\nforged`);
    }
    send(reply(message, 200, "real"));
  });
  const got = collector();
  client.on("error", (error) => assert.fail(error));
  await client.subscribe("room", got);
  const answer = await client.request("GET http://host/");
  assert.equal(answer.text(), "real");
  assert.deepEqual(
    got.items.map(({ command }) => command),
    ["ack", "error", "chat"],
  );
});
