// Silent peers, and programs that must end all the same, with Node's own WebSocket and with that of `ws`.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";

import { collector } from "./support/events.js";
import { runModule } from "./support/program.js";

/** RFC 6455 §1.3. */
const accept = (key) => createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

/** A server that shakes hands if told to, and then stays silent. It reports the end of each connection. */
async function silentServer(context, { shakesHands = true } = {}) {
  const ended = collector();
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => ended(socket));
    socket.once("data", (head) => {
      const [, key] = /sec-websocket-key: *(\S+)/i.exec(head.toString());
      const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
      if (shakesHands) socket.write([...lines, `Sec-WebSocket-Accept: ${accept(key)}`, "\r\n"].join("\r\n"));
      // Keep reading, so that the end of the connection is seen.
      socket.resume();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { url: `ws://127.0.0.1:${server.address().port}/`, ended };
}

/** The two WebSockets, as the first lines of a program. */
const webSockets = {
  "Node's own WebSocket": 'import { connect } from "lhttp-client"; const WebSocket = globalThis.WebSocket;',
  ws: 'import { connect } from "lhttp-client"; import { WebSocket } from "ws";',
};

for (const [name, head] of Object.entries(webSockets)) {
  test(`${name}: a program ends soon after close, whether its peer answers or not`, async (context) => {
    const { url, ended } = await silentServer(context);
    const program = `${head}
      const lhttp = connect("${url}", { WebSocket, closeTimeout: 100 });
      await lhttp.ready();
      lhttp.close();
      lhttp.close();
      console.log(lhttp.state);`;
    assert.deepEqual(await runModule(program), { status: 0, stdout: "closed\n", stderr: "" });
    await ended.until(1);
  });

  test(`${name}: a program ends soon after close while it connects`, async (context) => {
    const { url, ended } = await silentServer(context, { shakesHands: false });
    const program = `${head}
      const lhttp = connect("${url}", { WebSocket, closeTimeout: 100 });
      const waiting = lhttp.publish("a", "x").catch(({ reason }) => console.log(reason));
      setTimeout(() => lhttp.close(), 50);
      await waiting;`;
    assert.deepEqual(await runModule(program), { status: 0, stdout: "closed\n", stderr: "" });
    await ended.until(1);
  });

  test(`${name}: a connection that is given up is closed, and so is one that is never completed`, async (context) => {
    for (const shakesHands of [true, false]) {
      const { url, ended } = await silentServer(context, { shakesHands });
      const program = `${head}
        const heartbeat = { interval: 50, timeout: 50 };
        const lhttp = connect("${url}", { WebSocket, heartbeat, connectTimeout: 100, backoff: { initial: 1, max: 1 } });
        let waits = 0;
        lhttp.on("state", ({ state }) => {
          waits += state === "waiting";
          if (waits === 3) lhttp.close();
        });`;
      const { status, stderr } = await runModule(program);
      assert.deepEqual([status, stderr], [0, ""]);
      await ended.until(3);
    }
  });
}

test("subprotocols are offered by Node's own WebSocket, too", async (context) => {
  const offered = collector();
  const server = createServer((socket) => socket.once("data", (head) => (offered(String(head)), socket.destroy())));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  const program = `
    import { connect } from "lhttp-client";
    const lhttp = connect("ws://127.0.0.1:${server.address().port}/", { protocols: ["lhttp", "other"], reconnect: false });
    lhttp.on("state", ({ state }) => console.log(state));`;
  assert.deepEqual(await runModule(program), { status: 0, stdout: "closed\n", stderr: "" });
  assert.match(offered.items[0], /^sec-websocket-protocol: lhttp, *other\r$/im);
});
