// Publish/subscribe with Bun's built-in means, for `lhttp-bench`: "S<channel>\n" subscribes, and "P<channel>\n<body>"
// is forwarded unchanged to the channel's subscribers. No costly option is on, and nothing is dropped.
const server = Bun.serve({
  hostname: process.argv[2],
  port: Number(process.argv[3]),
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
