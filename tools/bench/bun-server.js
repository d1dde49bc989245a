// Publish/subscribe with Bun's built-in means, for `lhttp-bench`: "S<channel>\n" subscribes, and "P<channel>\n<body>"
// is forwarded unchanged to the channel's subscribers. No costly option is on, and nothing is dropped. With two more
// arguments, the files of a certificate and its key, the server speaks TLS.
const [hostname, port, cert, key] = process.argv.slice(2);
const server = Bun.serve({
  hostname,
  port: Number(port),
  tls: cert && { cert: Bun.file(cert), key: Bun.file(key) },
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response("WebSocket only\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    backpressureLimit: 1 << 30,
    closeOnBackpressureLimit: false,
    message(connection, message) {
      const channel = message.slice(1, message.indexOf("\n"));
      if (message.charCodeAt(0) === 80) return void server.publish(channel, message);
      connection.subscribe(channel);
      connection.send("A");
    },
  },
});
