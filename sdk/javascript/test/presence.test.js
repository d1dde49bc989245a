// Who is in a channel (PROTOCOL.md §11): what the client sends, and what it tells its listeners.

import assert from "node:assert/strict";
import { test } from "node:test";

import { mockTime, names, outcome, pass, start, started } from "./support/fake-client.js";
import { settled } from "./support/fake-socket.js";
import { tokenFor } from "./support/token.js";

mockTime();

const user = (name, info) => ({ user: name, connections: 1, since: 7, ...(info === undefined ? {} : { info }) });

const NOBODY = { users: [], more: 0, total: 0, isComplete: true };

/** Answers a question, which must be the only message sent since the last call. */
function answer(Socket, users, more = 0, channel = "room") {
  const asked = Socket.last.take();
  assert.deepEqual(names(asked, "presence"), [channel]);
  const cut = more > 0 ? `more:${more}\r\n` : "";
  const head = `LHTTP/1.0 presence\r\nchannel:${channel}\r\nack:${asked[0].header("ack")}\r\n${cut}`;
  Socket.last.receive(`${head}\r\n${JSON.stringify(users)}`);
  return settled();
}

/** Somebody has come or gone, so that there are so many users. `more` changes are not named. */
function change(Socket, joined, left, users, more = undefined, channel = "room") {
  const body = { joined, left: left.map((name) => ({ user: name })), users, more };
  Socket.last.receive(`LHTTP/1.0 presence-change\r\nchannel:${channel}\r\n\r\n${JSON.stringify(body)}`);
}

/** A room of this name, and what it was told. */
async function watched({ client, Socket }, name = "room", options = {}) {
  const [told, messages] = [[], []];
  const joining = client.subscribe(name, (message) => messages.push(message), options);
  await settled();
  Socket.last.ackAll();
  const room = await joining;
  const shown = ({ user: name, info }) => (info === undefined ? name : `${name} ${info}`);
  room.on("join", (one) => told.push(`+${shown(one)}`));
  room.on("leave", (one) => told.push(`-${shown(one)}`));
  room.on("presence", ({ users, more }) => told.push(`${users.map(shown)}${more > 0 ? ` and ${more}` : ""}`));
  return { room, messages, told: () => told.splice(0) };
}

/** The connection breaks, and the next one has renewed the subscriptions. */
async function reconnect({ Socket }) {
  Socket.last.break();
  await nextSocket(Socket);
  Socket.last.ackAll();
  await settled();
}

/** The next connection is open. */
async function nextSocket(Socket) {
  const { length } = Socket.made;
  while (Socket.made.length === length) await pass(10);
  Socket.last.open();
  await settled();
}

test("presence resolves with the list, and says how many users it leaves out", async () => {
  const { client, Socket } = await started();
  const asked = outcome(client.presence("room"));
  await settled();
  assert.equal(Socket.last.sent.length, 1);
  await answer(Socket, [user("~a"), user("mike", { face: ":-)" })], 3);
  assert.deepEqual(asked.value, {
    users: [user("~a"), user("mike", { face: ":-)" })],
    more: 3,
    total: 5,
    isComplete: false,
  });
  const whole = outcome(client.presence("room"));
  await settled();
  await answer(Socket, []);
  assert.deepEqual(whole.value, NOBODY);
});

test("the server's errors reach the caller, and a server without presence is one of them", async () => {
  const { client, Socket } = await started();
  for (const [code, reason] of [
    [403, "forbidden"],
    [404, "no-presence"],
  ]) {
    const asked = outcome(client.presence("room"));
    await settled();
    Socket.last.refuse(Socket.last.take()[0], code, reason, "no");
    await settled();
    assert.deepEqual([asked.error.code, asked.error.reason], [code, reason]);
  }
  const pattern = outcome(client.presence("a.*"));
  await settled();
  assert.deepEqual([pattern.error.code, pattern.error.reason, Socket.last.sent.length], [400, "bad-channel", 0]);
  const plain = outcome(client.presence("room"));
  await settled();
  Socket.last.ackAll();
  await settled();
  assert.deepEqual([plain.error.code, plain.error.reason], [404, "no-presence"]);
  const broken = outcome(client.presence("room"));
  await settled();
  const [{ headers }] = Socket.last.take();
  const ack = headers.find(([name]) => name === "ack")[1];
  Socket.last.receive(`LHTTP/1.0 presence\r\nchannel:room\r\nack:${ack}\r\n\r\n[{`);
  await settled();
  assert.ok(broken.error instanceof SyntaxError, "what is no JSON rejects, and breaks nothing");
});

test("a question waits for a connection, and with one that is lost it is rejected, or asked again with retry", async () => {
  const all = await started();
  const { client, Socket } = all;
  const [lost, again] = [outcome(client.presence("room")), outcome(client.presence("room", { retry: true }))];
  await settled();
  Socket.last.break();
  await settled();
  assert.deepEqual([lost.error.reason, again.isDone], ["connection-lost", false]);
  const [waits, fails] = [outcome(client.presence("other")), outcome(client.presence("room", { offline: "fail" }))];
  const [limited] = [outcome(client.presence("room", { timeout: 5 }))];
  await settled();
  assert.equal(fails.error.reason, "offline");
  await pass(10);
  assert.equal(limited.error.reason, "timeout");
  await nextSocket(Socket);
  const asked = Socket.last.take();
  assert.deepEqual(names(asked, "presence"), ["room", "other"]);
  for (const message of asked) {
    Socket.last.receive(`LHTTP/1.0 presence\r\nchannel:x\r\nack:${message.header("ack")}\r\n\r\n[]`);
  }
  await settled();
  assert.deepEqual([again.value, waits.value], [NOBODY, NOBODY]);
});

test("an answer of this kind that nobody asked for settles no other call", async () => {
  const { client, Socket } = await started();
  const seen = [];
  client.on("message", ({ command }) => seen.push(command));
  const published = outcome(client.publish("room", "", { headers: { presence: "room" } }));
  await settled();
  const [message] = Socket.last.take();
  Socket.last.receive(`LHTTP/1.0 presence\r\nchannel:room\r\nack:${message.header("ack")}\r\n\r\n[]`);
  await settled();
  assert.equal(published.isDone, false);
  Socket.last.receive(`LHTTP/1.0 ack\r\nack:${message.header("ack")}\r\n\r\n`);
  await settled();
  assert.equal(published.isDone, true);
  assert.deepEqual(seen, ["presence"]);
});

test("listeners are told who is there, and then who comes, goes, and is shown otherwise", async () => {
  const all = await started();
  const { client, Socket } = all;
  const [seen, errors] = [[], []];
  client.on("message", ({ command }) => seen.push(command));
  client.on("error", ({ message }) => errors.push(message));
  const { messages, told } = await watched(all);
  await answer(Socket, [user("ada"), user("~b", "Bob")]);
  assert.deepEqual(told(), ["ada,~b Bob"], "those who were there before do not join");
  change(Socket, [user("carl")], [], 3);
  assert.deepEqual(told(), ["+carl", "ada,carl,~b Bob"]);
  change(Socket, [user("~b", "Rob")], ["ada"], 2);
  assert.deepEqual(told(), ["-ada", "carl,~b Rob"], "other information is no join");
  change(Socket, [user("carl")], ["nobody"], 2);
  change(Socket, [], [], 2);
  change(Socket, [user("eve")], [], 1, undefined, "other");
  assert.deepEqual(told(), [], "what is known already is not told");
  assert.deepEqual([messages, seen], [[], []], "a change is no message");
  Socket.last.receive("LHTTP/1.0 presence-change\r\n\r\nof a processor");
  assert.deepEqual(seen, ["presence-change"], "one without a channel is not the server's");
  assert.deepEqual(errors, []);
  change(Socket, 1, []);
  assert.equal(errors.length, 1, "one that makes no sense breaks nothing");
  Socket.last.receive("LHTTP/1.0 chat\r\npublish:room\r\n\r\nhi");
  assert.equal(messages.length, 1);
});

test("changes that come before the list are in the list", async () => {
  const all = await started();
  const { Socket } = all;
  const { told } = await watched(all);
  change(Socket, [user("ada")], [], 1);
  assert.deepEqual(told(), []);
  await answer(Socket, [user("ada")]);
  assert.deepEqual([told(), Socket.last.sent.length], [["ada"], 0], "one question is enough");
});

test("after a reconnect listeners are told what has changed in between", async () => {
  const all = await started();
  const { Socket } = all;
  const { told } = await watched(all);
  await answer(Socket, [user("ada"), user("bob")]);
  told();
  await reconnect(all);
  change(Socket, [], ["ada"], 1);
  assert.deepEqual(told(), [], "before the list a change says nothing");
  await answer(Socket, [user("bob"), user("carl")]);
  assert.deepEqual(told(), ["-ada", "+carl", "bob,carl"]);
});

test("a subscription that the server has ended is asked for anew once it is there again", async () => {
  const all = start({ token: () => tokenFor("mike", 3_600) });
  await settled();
  const { client, Socket } = all;
  Socket.last.open();
  await settled();
  client.on("error", () => {});
  const { told } = await watched(all);
  await answer(Socket, [user("ada")]);
  told();
  Socket.last.receive("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:room\r\n\r\nno");
  const renewing = client.renewToken();
  await settled();
  Socket.last.ackAll();
  await renewing;
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "subscribe"), ["room"]);
  await settled();
  await answer(Socket, [user("bob")]);
  assert.deepEqual(told(), ["-ada", "+bob", "bob"]);
});

test("of lists that leave users out no difference is told", async () => {
  const all = await started();
  const { Socket } = all;
  const { told } = await watched(all);
  await answer(Socket, [user("ada"), user("bob")], 2);
  assert.deepEqual(told(), ["ada,bob and 2"]);
  change(Socket, [], ["zoe"], 3);
  change(Socket, [], ["zoe"], 3);
  assert.deepEqual(told(), ["-zoe", "ada,bob and 1"], "one of the others has gone, and a second copy says it again");
  change(Socket, [], ["ada", "yan"], 1);
  assert.deepEqual(told(), ["-ada", "-yan", "bob"]);
  await reconnect(all);
  await answer(Socket, [user("ada")], 1);
  assert.deepEqual(told(), ["ada and 1"]);
  await reconnect(all);
  await answer(Socket, [user("bob")]);
  assert.deepEqual(told(), ["bob"]);
});

test("so many users that no list has are counted, and not kept", async () => {
  const all = await started();
  const { Socket } = all;
  const { room } = await watched(all);
  let [last, joined] = [undefined, 0];
  room.on("presence", (present) => (last = present));
  room.on("join", () => (joined += 1));
  await answer(Socket, []);
  for (let hundred = 0; hundred < 101; hundred += 1) {
    change(
      Socket,
      Array.from({ length: 100 }, (_, index) => user(`${hundred}.${index}`)),
      [],
      100 * (hundred + 1),
    );
  }
  const { users, more, total, isComplete } = last;
  assert.deepEqual([users.length, more, total, isComplete, joined], [10_000, 100, 10_100, false, 10_100]);
});

test("changes that are not named are counted, and another list makes the room complete again", async () => {
  const all = await started();
  const { Socket } = all;
  const { room, told } = await watched(all);
  const counts = [];
  room.on("presence", ({ total, isComplete }) => counts.push(`${total}${isComplete ? "" : "?"}`));
  await answer(Socket, [user("ada"), user("bob")]);
  assert.equal(counts.pop(), "2");
  [counts, told()].forEach((list) => list.splice(0));
  change(Socket, [user("carl")], [], 5, 3);
  assert.deepEqual(told(), ["+carl", "ada,bob,carl and 2"]);
  change(Socket, [], ["ada", "eve"], 3);
  assert.deepEqual(told(), ["-ada", "-eve", "bob,carl and 1"], "one that was only counted leaves");
  change(Socket, [user("dora")], [], 3, 1);
  assert.deepEqual(told(), ["+dora", "bob,carl,dora"], "some of these may have gone");
  change(Socket, [user("dora")], [], 4, 1);
  assert.deepEqual(told(), ["bob,carl,dora and 1"], "the number alone is news");
  await pass(7_400);
  assert.equal(Socket.last.sent.length, 0, "clients of a room do not ask all at once");
  await pass(200);
  await answer(Socket, [user("bob"), user("dora"), user("finn"), user("gus")]);
  assert.deepEqual(told(), ["-carl", "+finn", "+gus", "bob,dora,finn,gus"]);
  assert.deepEqual(counts, ["5?", "3?", "3?", "4?", "4"]);
  change(Socket, [user("hal")], [], 6, 1);
  told();
  await pass(4_900);
  assert.equal(Socket.last.sent.length, 0, "each time after a while");
  await pass(5_100);
  await answer(Socket, [user("bob"), user("hal")], 4);
  assert.deepEqual(told(), ["bob,hal and 4"]);
  change(Socket, [user("ida")], [], 8, 1);
  await pass(20_000);
  const questions = Socket.last.ackAll().filter((message) => message.header("presence") !== undefined);
  assert.deepEqual(questions, [], "a list that is cut is not made complete by another one");
});

test("a room that is not complete asks no more when its listeners or its connection have gone, or when it is refused", async () => {
  const all = await started();
  const { client, Socket } = all;
  const errors = [];
  client.on("error", ({ code }) => errors.push(code));
  const { room } = await watched(all);
  await answer(Socket, []);
  const questions = () => Socket.last.ackAll().filter((message) => message.header("presence") !== undefined);
  change(Socket, [user("ada")], [], 2, 1);
  await reconnect(all);
  await answer(Socket, [user("ada")]);
  await pass(20_000);
  assert.deepEqual(questions(), [], "the new connection has had a list");
  change(Socket, [user("bob")], [], 3, 1);
  await pass(7_600);
  Socket.last.refuse(Socket.last.take()[0], 403, "forbidden", "no");
  await settled();
  change(Socket, [user("carl")], [], 5, 1);
  await pass(20_000);
  assert.deepEqual([questions(), errors], [[], [403]]);
  await reconnect(all);
  await answer(Socket, [user("ada")]);
  change(Socket, [user("bob")], [], 3, 1);
  const leaving = room.unsubscribe();
  Socket.last.ackAll();
  await leaving;
  await pass(20_000);
  assert.deepEqual(questions(), []);
});

test("without a listener nobody asks, and the last one that goes ends it", async () => {
  const all = await started();
  const { client, Socket } = all;
  const joining = client.subscribe("room", () => {});
  await settled();
  Socket.last.ackAll();
  const room = await joining;
  change(Socket, [user("ada")], [], 1);
  await settled();
  assert.equal(Socket.last.sent.length, 0);
  const told = [];
  const off = room.on("join", ({ user: name }) => told.push(name));
  await answer(Socket, []);
  off();
  change(Socket, [user("bob")], [], 1);
  room.on("join", ({ user: name }) => told.push(name));
  await answer(Socket, [user("bob")]);
  change(Socket, [user("carl")], [], 2);
  assert.deepEqual(told, ["carl"]);
  await reconnect(all);
  await answer(Socket, [user("carl")]);
  const leaving = room.unsubscribe();
  Socket.last.ackAll();
  await leaving;
  change(Socket, [user("dora")], [], 1);
  assert.deepEqual([told, Socket.last.sent.length], [["carl"], 0]);
});

test("a second room of a channel gets the list that the first has had, and each has its own copy", async () => {
  const all = await started();
  const { client, Socket } = all;
  const first = await watched(all);
  first.room.on("presence", ({ users }) => users.splice(0));
  await answer(Socket, [user("ada")]);
  const second = await client.subscribe("room", () => {});
  const lists = [];
  second.on("presence", ({ users }) => lists.push(users));
  await settled();
  assert.deepEqual([lists, Socket.last.sent.length], [[[user("ada")]], 0]);
  second.on("leave", () => second.unsubscribe());
  change(Socket, [user("bob")], ["ada"], 1);
  assert.equal(lists.length, 1, "a room that its listener has ended is told nothing more");
});

test("a pattern has no presence", async () => {
  const all = await started();
  const joining = all.client.subscribe("a.*", () => {});
  await settled();
  all.Socket.last.ackAll();
  const room = await joining;
  assert.throws(() => room.on("join", () => {}), { code: 400, reason: "bad-channel" });
  await assert.rejects(room.presence(), { code: 400, reason: "bad-channel" });
});

test("a list that the server refuses is an error event, and one that passes is asked for again", async () => {
  const all = await started();
  const { client, Socket } = all;
  const errors = [];
  client.on("error", (error) => errors.push(`${error.code} ${error.message}`));
  const { room, told } = await watched(all);
  Socket.last.refuse(Socket.last.take()[0], 404, "no-presence", "nobody counts");
  await pass(20_000);
  const refused = Socket.last.ackAll().filter((message) => message.header("presence") !== undefined);
  assert.deepEqual(refused, [], "that is for good");
  room.on("join", () => {});
  await settled();
  Socket.last.refuse(Socket.last.take()[0], 429, "rate-limited", "too many");
  await settled();
  assert.equal(Socket.last.sent.length, 0);
  await pass(500);
  await answer(Socket, [user("ada")]);
  assert.deepEqual(told(), ["ada"]);
  assert.deepEqual(errors, [
    '404 it is not known who is in "room": nobody counts',
    '429 it is not known who is in "room": too many',
  ]);
});

test("a client that listens in many channels asks for a few lists at once", async () => {
  const all = await started();
  const { Socket } = all;
  const channels = Array.from({ length: 20 }, (_, index) => `room.${index}`);
  for (const channel of channels) {
    await watched(all, channel);
    await answer(Socket, [], 0, channel);
  }
  await reconnect(all);
  const first = Socket.last.take();
  assert.deepEqual(names(first, "presence"), channels.slice(0, 16));
  for (const message of first) {
    const token = message.header("ack");
    Socket.last.receive(`LHTTP/1.0 presence\r\nchannel:${message.header("presence")}\r\nack:${token}\r\n\r\n[]`);
  }
  await settled();
  assert.deepEqual(names(Socket.last.take(), "presence"), channels.slice(16));
});

test("what a room shows goes with each message that subscribes, and with no others", async () => {
  const all = await started();
  const { client, Socket } = all;
  const joining = [client.subscribe("a", () => {}, { info: "Ada" }), client.subscribe("b", () => {})];
  await settled();
  const sent = Socket.last.ackAll();
  assert.deepEqual(names(sent, "presence-info"), ["Ada", undefined]);
  const [a] = await Promise.all(joining);
  const [other] = [client.subscribe("c", () => {}, { info: "Ada" })];
  await settled();
  Socket.last.ackAll();
  await other;

  const changed = outcome(a.setInfo("Grace"));
  await settled();
  const [again] = Socket.last.ackAll();
  assert.deepEqual([again.header("subscribe"), again.header("presence-info")], ["a", "Grace"]);
  await settled();
  assert.equal(changed.isDone, true);
  Socket.last.break();
  await a.setInfo("Admiral");
  await nextSocket(Socket);
  const renewed = Socket.last.ackAll().map((message) => [message.header("subscribe"), message.header("presence-info")]);
  assert.deepEqual(renewed, [
    ["a", "Admiral"],
    ["b", undefined],
    ["c", "Ada"],
  ]);
  await client.ready();

  const second = client.subscribe("a", () => {}, { info: "Hopper" });
  await settled();
  assert.deepEqual(names(Socket.last.ackAll(), "presence-info"), ["Hopper"], "a later room replaces it");
  await second;
});

test("a change of what is shown is refused like a message, and ends with the connection", async () => {
  const all = await started();
  const { client, Socket } = all;
  const joining = client.subscribe("a", () => {});
  await settled();
  Socket.last.ackAll();
  const room = await joining;
  const [refused, lost] = [outcome(room.setInfo("x")), outcome(room.setInfo("y"))];
  await settled();
  Socket.last.refuse(Socket.last.take()[0], 429, "rate-limited", "too many");
  await settled();
  assert.deepEqual([refused.error.code, lost.isDone], [429, false]);
  Socket.last.break();
  await settled();
  assert.deepEqual([lost.error, lost.isDone], [undefined, true]);
  await room.unsubscribe();
  await assert.rejects(room.setInfo("z"), { code: 0, reason: "closed" });
});

test("what cannot be shown is refused at once", async () => {
  const { client, Socket } = await started();
  const wrong = { code: 400, reason: "bad-header" };
  for (const info of ["x".repeat(257), "ü".repeat(129), "two\nlines"]) {
    await assert.rejects(
      client.subscribe("a", () => {}, { info }),
      wrong,
    );
  }
  await assert.rejects(
    client.subscribe("a", () => {}, { info: { name: "Ada" } }),
    TypeError,
  );
  await assert.rejects(
    client.subscribe("a", () => {}, { headers: { "presence-info": "x" } }),
    wrong,
  );
  assert.equal(Socket.last.sent.length, 0);
});
