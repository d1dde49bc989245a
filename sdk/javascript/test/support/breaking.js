// A real WebSocket whose connection a test can break, and whose messages it can read.

import { WebSocket } from "ws";

import { decodeMessage } from "../../src/message.js";

/** A new class for each client, which knows its sockets and what they sent. */
export function breakingWebSocket() {
  return class BreakingSocket extends WebSocket {
    /** @type {BreakingSocket[]} */
    static made = [];
    /** The messages of all sockets, in order. */
    static sent = [];

    constructor(...given) {
      super(...given);
      BreakingSocket.made.push(this);
    }

    send(data, ...rest) {
      BreakingSocket.sent.push(decodeMessage(data));
      super.send(data, ...rest);
    }

    /** The connection is lost, without a close frame. */
    static break() {
      BreakingSocket.made[BreakingSocket.made.length - 1].terminate();
    }

    /** The values of this header in all messages, where there is one. */
    static sentHeaders(name) {
      return BreakingSocket.sent.map((message) => message.header(name)).filter((value) => value !== undefined);
    }
  };
}
