// Tokens: asked for before each connection and before they run out, on a fake socket and a fake clock.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { expiryOf } from "../src/token.js";
import { mockTime, names, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";
import { makeToken, tokenFor } from "./support/token.js";

mockTime();

/** A function that gives these tokens, the last one again and again, and what it was asked. */
function source(...tokens) {
  const asked = [];
  const token = async ({ reason }) => {
    asked.push(reason);
    const [next] = tokens.length > 1 ? tokens.splice(0, 1) : tokens;
    if (next instanceof Error) throw next;
    return next;
  };
  return { token, asked };
}

/** A client whose first handshake is offered, with everything that happens. */
async function offered(token, options = {}) {
  const all = start({ token, ...options });
  const errors = [];
  const losses = [];
  all.client.on("error", ({ code, reason, message }) => errors.push([code, reason, message]));
  all.client.on(
    "state",
    ({ state, error }) => state === "waiting" && losses.push([error.code, error.reason, error.message]),
  );
  await settled();
  return { ...all, errors, losses };
}

/** The same, connected. */
async function connected(token, options) {
  const all = await offered(token, options);
  all.Socket.last.open();
  await settled();
  return all;
}

const acked = (message, lines = "") => `LHTTP/1.0 ack\r\nack:${message.header("ack")}\r\n${lines}\r\n`;

test("a token is asked for before each attempt, and offered as a subprotocol beside lhttp", async () => {
  const [first, second] = [tokenFor("mike", 3_600), tokenFor("mike", 7_200)];
  const { token, asked } = source(first, second);
  const { Socket } = await connected(token, { protocols: "mine" });
  assert.deepEqual(Socket.last.protocols, ["lhttp", `lhttp.token.${first}`, "mine"]);
  Socket.last.break();
  await pass(250);
  assert.equal(Socket.made.length, 2);
  assert.deepEqual(Socket.last.protocols, ["lhttp", `lhttp.token.${second}`, "mine"]);
  assert.deepEqual(asked, ["connect", "connect"]);
});

test("without a token the handshake is as ever, and it waits for no function", async () => {
  const { Socket } = start();
  assert.equal(Socket.made.length, 1);
  assert.equal(Socket.last.protocols, undefined);
  // A user who is not logged in.
  const anonymous = await connected(() => undefined);
  assert.equal(anonymous.Socket.last.protocols, undefined);
  assert.equal(anonymous.client.state, "open");
  mock.timers.tick(24_000);
  assert.equal(anonymous.Socket.last.sent.length, 0);
});

test("the URL may be a function, which is called before each attempt", async () => {
  let calls = 0;
  const { Socket } = start();
  const { connect } = await import("../src/index.js");
  const made = Socket.made.length;
  const url = async () => `ws://test/${(calls += 1)}`;
  const client = connect(url, { WebSocket: Socket, random: () => 0.5 });
  await settled();
  assert.equal(Socket.made.length, made + 1);
  assert.equal(Socket.last.url, "ws://test/1");
  Socket.last.break();
  await pass(250);
  assert.equal(Socket.last.url, "ws://test/2");
  client.close();
});

test("a token function that fails is a failed attempt, and is asked again after a growing wait", async () => {
  const { token, asked } = source(new Error("no network"), new Error("no network"), tokenFor("mike", 3_600));
  const { client, Socket, losses } = await offered(token);
  assert.equal(client.state, "waiting");
  await pass(249);
  assert.equal(asked.length, 1);
  await pass(1);
  assert.equal(asked.length, 2);
  await pass(500);
  assert.equal(Socket.made.length, 1);
  Socket.last.open();
  await settled();
  assert.equal(client.state, "open");
  assert.deepEqual(losses, Array(2).fill([0, "no-token", "the token function failed: no network"]));
  assert.deepEqual(asked, ["connect", "connect", "connect"]);
});

test("a token function that throws, never answers or gives nonsense is told in the same way", async () => {
  const wrong = async (token) => {
    const { losses } = await offered(token, { connectTimeout: 3_000 });
    await pass(3_000);
    return losses[0].slice(1).join(": ");
  };
  const throws = () => {
    throw new Error("a mistake");
  };
  assert.equal(await wrong(throws), "no-token: the token function failed: a mistake");
  assert.equal(
    await wrong(() => new Promise(() => {})),
    "no-token: the token function failed: not done within 3000 ms",
  );
  // It is in a header of the handshake and in a subprotocol, so nothing else may come through.
  for (const token of ["", "a.b", "a.b.c\r\nx:y", "a.b.c, d", { exp: 1 }]) {
    assert.equal(await wrong(() => token), "no-token: the token function gave something that is not a JWT");
  }
  assert.throws(() => start({ token: "a.b.c" }), /token is a function/);
});

test("a token that comes after the client has given up is not used", async () => {
  let give;
  const { client, Socket } = await offered(() => new Promise((resolve) => (give = resolve)));
  client.close();
  give(tokenFor("mike", 3_600));
  await settled();
  assert.equal(Socket.made.length, 0);
  assert.equal(client.state, "closed");
});

test("a handshake that was refused for its token is told, and asks for another one with longer waits", async () => {
  const { token, asked } = source(tokenFor("mike", 3_600));
  const { Socket, losses } = await offered(token);
  Socket.last.fail("Unexpected server response: 401");
  // At least half of the maximum, because the server would refuse the same again.
  await pass(374);
  assert.equal(asked.length, 1);
  await pass(1);
  assert.deepEqual(asked, ["connect", "refused"]);
  Socket.last.fail("Unexpected server response: 403");
  // A browser tells nothing.
  await pass(750);
  Socket.last.fail();
  await pass(1_000);
  Socket.last.open();
  Socket.last.break();
  await pass(4_000);
  assert.deepEqual(losses, [
    [401, "unauthorized", "the server refuses the token (Unexpected server response: 401)"],
    [403, "forbidden", "the server refuses this client (Unexpected server response: 403)"],
    [0, "connection-lost", "no connection (whether the server refused the token cannot be seen here)"],
    [0, "connection-lost", "the connection is lost: closed with 1006"],
  ]);
  // Once one is accepted the next is an ordinary one.
  assert.deepEqual(asked, ["connect", "refused", "refused", "refused", "connect"]);
});

test("a token is renewed before it runs out, on the same connection, and the server's time counts", async () => {
  const [first, second, third] = [tokenFor("mike", 100), tokenFor("mike", 1_000), tokenFor("mike", 2_000)];
  const { token, asked } = source(first, second, third);
  const { Socket } = await connected(token, { heartbeat: { interval: 0 } });
  // In the middle of 75 to 90 %.
  await pass(82_499);
  assert.equal(Socket.last.sent.length, 0);
  await pass(1);
  const [renewal] = Socket.last.take();
  assert.deepEqual([renewal.command, renewal.header("token")], ["lhttp-token", second]);
  // The local clock is wrong: the token ends sooner than it seems.
  Socket.last.receive(acked(renewal, "expires-in:200\r\n"));
  await settled();
  await pass(164_999);
  assert.equal(Socket.last.sent.length, 0);
  await pass(1);
  assert.deepEqual(names(Socket.last.take(), "token"), [third]);
  assert.deepEqual(asked, ["connect", "renewal", "renewal"]);
});

test("clients that connect together renew at different times, all in time", async () => {
  const { token } = source(tokenFor("mike", 1_000));
  const options = { random: Math.random, heartbeat: { interval: 0 } };
  const all = await Promise.all(Array.from({ length: 100 }, () => connected(token, options)));
  const due = (count) => all.filter(({ Socket }) => Socket.last.sent.length === count).length;
  await pass(749_000);
  assert.equal(due(0), 100);
  await pass(76_000);
  // Each is early with a probability of 1/2; a count outside of this range has one below 1 in 10^10.
  assert.ok(due(1) > 15 && due(1) < 85, `${due(1)} of 100`);
  await pass(76_000);
  assert.equal(due(0), 0);
  for (const { client } of all) client.close();
});

test("a renewal that fails is told and retried, and the connection goes on", async () => {
  const [first, second] = [tokenFor("mike", 100), tokenFor("mike", 1_000)];
  const { token, asked } = source(first, new Error("no network"), second, second);
  const { client, Socket, errors } = await connected(token, { heartbeat: { interval: 0 } });
  await pass(82_500);
  assert.equal(client.state, "open");
  assert.deepEqual(errors, [[0, "no-token", "the token could not be renewed: the token function failed: no network"]]);
  await pass(375);
  const [renewal] = Socket.last.take();
  Socket.last.refuse(renewal, 401, "unauthorized", "the token names another user");
  await settled();
  assert.deepEqual(errors[1], [401, "unauthorized", "the token could not be renewed: the token names another user"]);
  await pass(750);
  Socket.last.ackAll();
  await settled();
  assert.deepEqual(asked, ["connect", "renewal", "renewal", "refused"]);
  assert.equal(client.state, "open");
});

test("the end of a connection ends its renewal", async () => {
  const { token, asked } = source(tokenFor("mike", 100));
  const { client, Socket, errors } = await connected(token, { heartbeat: { interval: 0 } });
  await pass(82_500);
  assert.equal(Socket.last.take().length, 1);
  Socket.last.break();
  await pass(250);
  Socket.last.open();
  await settled();
  assert.deepEqual([client.state, errors.length, asked.length], ["open", 0, 3]);
  client.close();
  await pass(100_000);
  assert.deepEqual([errors.length, asked.length], [0, 3]);
});

test("a token that has run out is renewed at once, and what the server ended is subscribed to again", async () => {
  const { token, asked } = source(tokenFor("mike", 3_600), tokenFor("mike", 7_200));
  const { client, Socket, errors } = await connected(token);
  const joined = client.subscribe("room", () => {});
  Socket.last.ackAll();
  const room = await joined;
  Socket.last.receive("LHTTP/1.0 error\r\ncode:401\r\nreason:token-expired\r\n\r\nthe token has run out");
  assert.equal(room.isLive, false);
  const refused = outcome(client.publish("room", "x"));
  const [publish] = Socket.last.take();
  Socket.last.refuse(publish, 401, "token-expired", "the token has run out");
  await pass(0);
  mock.timers.tick(1);
  await settled();
  // The refusal reaches its own promise.
  assert.deepEqual([refused.error.code, refused.error.reason], [401, "token-expired"]);
  assert.deepEqual(errors, [[401, "token-expired", "the token has run out"]]);
  assert.deepEqual(names(Socket.last.ackAll(), "token").length, 1);
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["room"]);
  await settled();
  assert.ok(room.isLive);
  assert.deepEqual(asked, ["connect", "refused"]);
});

test("a server that answers everything with 401 does not make the client ask without pause", async () => {
  const { token, asked } = source(tokenFor("mike", 3_600));
  const { client, Socket } = await connected(token, { heartbeat: { interval: 0 } });
  for (let second = 0; second < 100; second += 1) {
    outcome(client.publish("room", "x"));
    for (const message of Socket.last.take()) {
      if (message.header("token") === undefined) Socket.last.refuse(message, 401, "unauthorized", "not you");
      else Socket.last.receive(acked(message, "expires-in:3600\r\n"));
    }
    await pass(1_000);
  }
  assert.ok(asked.length >= 3 && asked.length <= 12, `${asked.length}`);
});

test("a subscription that the server ends is told, and asked for again with the next token", async () => {
  const { token } = source(tokenFor("mike", 3_600));
  const { client, Socket, errors } = await connected(token);
  const joined = Promise.all([client.subscribe("one", () => {}), client.subscribe("two", () => {})]);
  Socket.last.ackAll();
  const [one, two] = await joined;
  Socket.last.receive("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:one\r\n\r\nnot any more");
  assert.deepEqual([one.isLive, two.isLive], [false, true]);
  assert.deepEqual(errors, [[403, "forbidden", 'the server has ended the subscription to "one": not any more']]);
  const renewed = client.renewToken();
  await settled();
  Socket.last.ackAll();
  await renewed;
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["one"]);
  await settled();
  assert.ok(one.isLive);
  // What the new token itself ends is not asked for again.
  const narrower = client.renewToken();
  await settled();
  Socket.last.receive("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:two\r\n\r\nnot any more");
  Socket.last.ackAll();
  await narrower;
  await settled();
  assert.deepEqual([Socket.last.sent.length, two.isLive, errors.length], [0, false, 2]);
  // One that was ended may be left, and the server is told.
  Socket.last.receive("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:one\r\n\r\nnot any more");
  const left = one.unsubscribe();
  assert.deepEqual(names(Socket.last.ackAll(), "unsubscribe"), ["one"]);
  await left;
});

test("403 and 401 reach the call that they belong to", async () => {
  const { client, Socket } = await connected(source(tokenFor("mike", 3_600)).token);
  const [publish, subscribe] = [outcome(client.publish("secret", "x")), outcome(client.subscribe("secret", () => {}))];
  const messages = Socket.last.take();
  Socket.last.refuse(messages[1], 403, "forbidden", "you may not subscribe here");
  Socket.last.refuse(messages[0], 403, "forbidden", "you may not publish here");
  await settled();
  assert.deepEqual([publish.error.code, publish.error.message], [403, "you may not publish here"]);
  assert.deepEqual([subscribe.error.code, subscribe.error.message], [403, "you may not subscribe here"]);
});

test("renewToken resolves when the server has accepted the token, and rejects with its refusal", async () => {
  const { client, Socket, errors } = await connected(source(tokenFor("mike", 3_600)).token);
  const renewed = outcome(client.renewToken());
  await settled();
  assert.ok(!renewed.isDone);
  Socket.last.ackAll();
  await settled();
  assert.ok(renewed.isDone && !renewed.error);
  const refused = outcome(client.renewToken());
  await settled();
  Socket.last.refuse(Socket.last.take()[0], 401, "unauthorized", "no");
  await settled();
  assert.equal(refused.error.code, 401);
  assert.equal(errors.length, 1);
  client.close();
  await assert.rejects(client.renewToken(), { reason: "closed" });
  await assert.rejects((await connected(undefined)).client.renewToken(), TypeError);
});

test("the end of a token is read from any JWT, and nothing else is believed", () => {
  assert.equal(expiryOf(makeToken({ exp: 1_700_000_000 })), 1_700_000_000_000);
  assert.equal(expiryOf(makeToken({ sub: "über ☂ 😀?>~", exp: 12.5 })), 12_500);
  for (const claims of [{}, { exp: "12" }, { exp: null }, null, 7])
    assert.equal(expiryOf(makeToken(claims)), undefined);
  for (const token of ["a.b.c", "a..c", "", "a.e30.c"]) assert.equal(expiryOf(token), undefined);
});
