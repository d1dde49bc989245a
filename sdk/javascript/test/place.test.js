// The rooms of a channel with a history, on a model of a server: whatever breaks when, each message comes once, in order.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../src/client.js";
import { fakeWebSocket, settled } from "./support/fake-socket.js";
import { randomFrom } from "./support/random.js";

const CHANNEL = "kept.a";
/**
 * In these runs the server drops old messages while it sends them: to a live subscription, twice to the same rooms, and while
 * a pattern overlaps.
 */
const HARD = [911, 1_921, 2_530, 3_370, 6_333];

/** A server with one channel. Where a client begins is decided later than when its subscription is taken, as with cores. */
class Server {
  /** The ids of the messages that it keeps, the oldest first. They tell nothing about their order. */
  kept = [];
  published = 0;
  epoch = 0;

  constructor(random, keeps) {
    this.random = random;
    this.keeps = keeps;
    this.hasHistory = true;
    this.connections = [];
    this.numbers = new Map();
  }

  publish() {
    const id = `${this.random.below(2 ** 31).toString(36)}-${this.published}`;
    this.numbers.set(id, this.published);
    this.published += 1;
    this.kept.push(id);
    if (this.kept.length > this.keeps) this.kept.shift();
    for (const connection of this.connections) connection.publish(id);
  }
}

/** The server's side of a connection. */
class Peer {
  subscribed = false;
  /** What the pending subscription asks for. */
  pending = undefined;
  pattern = false;
  /** Frames on their way to the client. */
  wire = [];
  requests = [];

  constructor(server, socket) {
    this.server = server;
    this.socket = socket;
    server.connections.push(this);
  }

  frame(id) {
    const number = this.server.numbers.get(id);
    return `LHTTP/1.0 chat\r\nmessage-id:${id}\r\nchannel:${CHANNEL}\r\npublish:${CHANNEL}\r\n\r\n${number}`;
  }

  publish(id) {
    if (this.pattern) this.wire.push(this.frame(id));
    if (this.subscribed && !this.pending) this.wire.push(this.frame(id));
  }

  /** Takes one request. */
  read() {
    this.requests.push(...this.socket.take());
    const request = this.requests.shift();
    if (!request) return;
    const names = request.header("subscribe")?.split(" ") ?? [];
    const ended = request.header("unsubscribe");
    if (ended === CHANNEL) this.subscribed = false;
    if (ended === "kept.*") this.pattern = false;
    if (names.includes("kept.*")) this.pattern = true;
    if (ended === CHANNEL) this.pending = undefined;
    if (!names.includes(CHANNEL)) return this.ack(request, names, new Map());
    this.subscribed = true;
    if (this.pending) this.ack(this.pending.request, this.pending.names, new Map());
    const since = request.header("since")?.split(" ")[names.indexOf(CHANNEL)];
    this.pending = { request, names, since, last: Number(request.header("last") ?? 0), at: undefined, isLost: false };
  }

  /** Sends a piece of what the client has missed; with the last one it joins. */
  goOn() {
    const { server, pending } = this;
    if (!pending) return;
    const asks = pending.since !== undefined && pending.since !== "-";
    if (pending.at === undefined) {
      const found = server.kept.indexOf(pending.since);
      const isNewest = asks && server.numbers.get(pending.since) === server.published - server.kept.length - 1;
      pending.isLost = asks && found < 0 && !isNewest;
      const begin = asks && !pending.isLost ? found + 1 : server.kept.length - pending.last;
      pending.at = server.numbers.get(server.kept[Math.max(0, begin)]) ?? server.published;
    }
    // Some come at once. If the server drops old messages while copies for a pattern come in between, it says that there is a
    // gap, but nobody knows where.
    const most = this.pattern ? Infinity : server.random.below(4);
    for (let count = most; count >= 0 && pending.at < server.published; count -= 1) {
      const oldest = server.published - server.kept.length;
      if (pending.at < oldest) {
        // It begins anew. Who has got nothing and did not say since when has lost nothing.
        pending.isLost ||= asks || pending.hasBegun;
        pending.at = Math.max(oldest, server.published - pending.last);
      }
      if (pending.at === server.published) break;
      this.wire.push(this.frame(server.kept[pending.at - oldest]));
      pending.hasBegun = true;
      pending.at += 1;
    }
    if (pending.at < server.published) return;
    this.pending = undefined;
    const position = server.kept[server.kept.length - 1] ?? "start";
    const lost = pending.isLost ? `lost:${CHANNEL}\r\n` : "";
    this.late = { pending, position, lost };
    if (server.random.below(2) === 0) this.confirm();
  }

  /** An acknowledgement may wait for other things than the old messages. */
  confirm() {
    if (!this.late) return;
    const { pending, position, lost } = this.late;
    this.late = undefined;
    this.ack(pending.request, pending.names, new Map([[CHANNEL, position]]), lost);
  }

  ack(request, names, positions, lost = "") {
    const token = request.header("ack");
    if (token === undefined) return;
    const ids = names.map((name) => positions.get(name) ?? "-").join(" ");
    const position = positions.size > 0 ? `position:${ids}\r\n` : "";
    this.wire.push(`LHTTP/1.0 ack\r\nack:${token}\r\n${position}${lost}\r\n`);
  }

  deliver() {
    const frame = this.wire.shift();
    if (frame !== undefined) this.socket.receive(frame);
  }
}

async function run(random) {
  const Socket = fakeWebSocket();
  const server = new Server(random, random.pick([3, 20, 1_000]));
  const client = connect("ws://test/", {
    WebSocket: Socket,
    backoff: { initial: 0, max: 0 },
    heartbeat: { interval: 0 },
  });
  client.on("error", (error) => assert.fail(error));
  const rooms = [];
  let peer;
  const opened = async () => {
    while (Socket.last.readyState !== 0) await new Promise((resolve) => setTimeout(resolve));
    peer = new Peer(server, Socket.last);
    Socket.last.open();
  };
  await opened();

  const subscribe = (name, last) => {
    const record = { name, last, got: [], live: undefined, isOpen: true };
    rooms.push(record);
    const joined = client.subscribe(name, ({ body }) => record.got.push(Number(body)), { last });
    joined.then(
      (room) => {
        record.room = room;
        record.live = record.got.length;
        room.on("gap", () => record.got.push("gap"));
      },
      () => {},
    );
  };
  const steps = [
    () => server.publish(),
    () => server.publish(),
    () => peer.read(),
    () => peer.read(),
    () => peer.goOn(),
    () => peer.confirm(),
    () => peer.deliver(),
    () => peer.deliver(),
    () => peer.deliver(),
    () => random.below(4) === 0 && subscribe(CHANNEL, random.pick([undefined, 1, 2, 5])),
    () => random.below(8) === 0 && subscribe("kept.*"),
    () => {
      const record = random.pick(rooms);
      if (random.below(6) > 0 || !record?.room || !record.isOpen) return;
      record.isOpen = false;
      record.room.unsubscribe().catch(() => {});
    },
    async () => {
      if (random.below(10) > 0) return;
      server.connections = [];
      Socket.last.break();
      for (let missed = random.below(5); missed > 0; missed -= 1) server.publish();
      await opened();
    },
  ];
  for (let step = 0; step < 150; step += 1) {
    await random.pick(steps)();
    if (random.below(2) === 0) await settled();
  }
  const isQuiet = () => peer.requests.length + peer.wire.length + Socket.last.sent.length === 0 && !peer.pending;
  const drain = async () => {
    do {
      peer.read();
      peer.goOn();
      peer.confirm();
      peer.deliver();
      await settled();
    } while (!isQuiet());
  };
  await drain();
  server.publish();
  await drain();
  client.close();
  return { rooms, last: server.published - 1 };
}

/** Fails unless the messages of a room are those that it must have. */
function check({ name, got, live = got.length, isOpen, room }, last) {
  const numbers = got.filter((one) => one !== "gap");
  // A gap has an end before the first message that comes again, and perhaps some behind it: the server was asked anew, or has
  // dropped messages twice while it sent them.
  let gaps = 0;
  let newest = -1;
  for (const [index, number] of got.entries()) {
    if (number === "gap") {
      gaps = 3;
      continue;
    }
    assert.ok(number > newest, `${number} behind ${newest}`);
    // A pattern misses messages while the connection is lost. Before the call resolves nobody can be told of a gap.
    const isFree = name !== CHANNEL || index === 0 || index <= live;
    if (!isFree && number !== newest + 1) assert.ok((gaps -= 1) >= 0, `nothing between ${newest} and ${number}`);
    newest = number;
  }
  if (isOpen && room) assert.equal(numbers[numbers.length - 1], last, "it has the newest one");
}

test("each message comes once and in order, whatever breaks when", async () => {
  const given = process.env.SEED;
  const seeds = given === undefined ? [...Array(300).keys(), ...HARD] : [Number(given)];
  for (const seed of seeds) {
    try {
      const { rooms, last } = await run(randomFrom(seed));
      for (const record of rooms) check(record, last);
    } catch (error) {
      console.error(`failed with SEED=${seed}`);
      throw error;
    }
  }
});
