// A WebSocket whose other end is the test.

import { decodeMessage } from "../../src/message.js";

/** A new class for each test, which knows its instances. */
export function fakeWebSocket() {
  return class FakeSocket {
    /** @type {FakeSocket[]} */
    static made = [];
    static get last() {
      return FakeSocket.made[FakeSocket.made.length - 1];
    }

    readyState = 0;
    bufferedAmount = 0;
    sent = [];
    isClosed = false;

    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      FakeSocket.made.push(this);
    }

    send(data) {
      if (this.readyState !== 1) throw new Error("send on a socket that is not open");
      this.sent.push(data);
    }

    close() {
      this.readyState = 3;
      this.isClosed = true;
    }

    open() {
      this.readyState = 1;
      this.onopen({});
    }

    receive(data) {
      this.onmessage({ data });
    }

    /** The connection fails, and as with Node's own WebSocket no `close` follows. */
    fail(message) {
      this.onerror({ message });
    }

    /** The connection breaks. */
    break(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose({ code, reason });
    }

    /** The messages sent since the last call, decoded. */
    take() {
      return this.sent.splice(0).map((data) => decodeMessage(data));
    }

    /** Acknowledges the messages sent since the last call, and returns them. */
    ackAll() {
      const messages = this.take();
      for (const message of messages) {
        const token = message.header("ack");
        if (token !== undefined) this.receive(`LHTTP/1.0 ack\r\nack:${token}\r\n\r\n`);
      }
      return messages;
    }

    /** Refuses one message. */
    refuse(message, code, reason, sentence) {
      this.receive(
        `LHTTP/1.0 error\r\ncode:${code}\r\nreason:${reason}\r\nack:${message.header("ack")}\r\n\r\n${sentence}`,
      );
    }
  };
}

/** Resolves when all promises that can continue have done so. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}
