// Publishes, lists the channel, closes a user's connections: LHTTP_ADMIN=http://127.0.0.1:9091 node backend.mjs room anna
const call = async (path, body) => {
  const headers = { Authorization: `Bearer ${process.env.LHTTP_ADMIN_KEY}`, "Content-Type": "application/json" };
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const response = await fetch(process.env.LHTTP_ADMIN + path, options);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
};

const [channel, user] = process.argv.slice(2);
console.log(JSON.stringify(await call("/api/publish", { channels: [channel], body: "hello" })));
console.log(JSON.stringify(await call(`/api/channels?match=${encodeURIComponent(channel)}`)));
console.log(JSON.stringify(await call("/api/disconnect", { user, reason: "bye" })));
