// Clients that give a server something to show.

import { randomBytes } from "node:crypto";
import { connect as connectTcp } from "node:net";

import { WebSocket } from "ws";

import { connect } from "../../../src/index.js";

/**
 * Subscribes `members` clients to each of these rooms, and publishes to them until the test ends: the first one in the list
 * gets the most.
 * @param {import("node:test").TestContext} context
 * @param {import("./lhttpd.js").Lhttpd} server
 * @param {{ rooms?: string[], members?: number, every?: number, body?: string, waves?: boolean }} [options] With `waves`
 *   there is more to say at times.
 */
export async function talk(context, server, options = {}) {
  const {
    rooms = ["chat.lobby", "orders.new", "sensor.7"],
    members = 5,
    every = 20,
    body = "x".repeat(100),
    waves = false,
  } = options;
  const clients = Array.from({ length: members + 1 }, () => connect(server.socketUrl, { WebSocket }));
  context.after(() => clients.forEach((client) => client.close()));
  const [publisher, ...others] = clients;
  for (const client of others) for (const room of rooms) await client.subscribe(room, () => {});
  let turn = 0;
  const timer = setInterval(() => {
    turn += 1;
    const swell = waves ? 1 + Math.round(2 + 2 * Math.sin((turn * every) / 9000) + Math.random()) : 1;
    rooms.forEach((room, index) => {
      const sent = turn % (index + 1) === 0 ? swell * (rooms.length - index) : 0;
      for (let number = 0; number < sent; number += 1) publisher.publish(room, body).catch(() => {});
    });
  }, every);
  context.after(() => clearInterval(timer));
}

/**
 * A client that subscribes and then reads nothing more.
 * @param {import("node:test").TestContext} context
 * @param {import("./lhttpd.js").Lhttpd} server
 * @param {string} room
 */
export async function stall(context, server, room) {
  const socket = connectTcp(server.place);
  context.after(() => socket.destroy());
  socket.on("error", () => {});
  const key = randomBytes(16).toString("base64");
  socket.write(
    `GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  const message = Buffer.from(`LHTTP/1.0 chat\r\nsubscribe:${room}\r\n\r\n`);
  // A mask of zeros, which changes nothing.
  const frame = Buffer.concat([Buffer.from([0x81, 0x80 | message.length, 0, 0, 0, 0]), message]);
  await new Promise((resolve) => socket.once("data", resolve));
  socket.pause();
  socket.write(frame);
}
