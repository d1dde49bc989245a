// Not run: the compiler checks the types against this use.

import { LhttpError, connect, multipart, type Message, type Room, type StateChange } from "lhttp-client";

export async function uses(): Promise<void> {
  const lhttp = connect("ws://localhost:8081", { backoff: { max: 5_000 }, offline: "fail", WebSocket: class {} });
  const user = connect(async () => new URL("wss://host/"), {
    token: async ({ reason }) => (reason === "refused" ? (await fetch("/token")).text() : undefined),
  });
  await user.renewToken({ timeout: 1_000 });
  // @ts-expect-error a token itself would run out
  connect("ws://localhost:8081", { token: "a.b.c" });
  const off: () => void = lhttp.on("state", ({ state, retryIn }: StateChange) => void (state === "waiting" && retryIn));
  lhttp.on("message", (message) => void message.header("from")?.length);
  lhttp.on("error", (error) => void (error instanceof LhttpError ? error.reason : error.message));
  const room: Room = await lhttp.subscribe("room", (message: Message) => void message.text());
  const parts = multipart([{ headers: { a: 1 }, body: new Uint8Array(1) }, { body: "x" }]);
  const chat = await lhttp.subscribe("chat", undefined, { last: 20 });
  chat.on("gap", ({ channel }) => void channel.length);
  const shown = await lhttp.subscribe("who", undefined, { info: "Ada" });
  shown.on("presence", ({ users, more, total, isComplete }) => {
    void [users[0]?.since.toFixed(), more.toFixed(), total.toFixed(), isComplete === true];
  });
  shown.on("join", ({ user, connections, info }) => void [user.length, connections.toFixed(), info?.name]);
  shown.on("leave", ({ user, since }) => void [user.length, since?.toFixed()]);
  const { users, more } = await shown.presence({ timeout: 1_000, retry: true });
  void [(await lhttp.presence("other", { offline: "fail" })).users.length === users.length + more];
  await shown.setInfo("Grace", { timeout: 1_000 });
  // @ts-expect-error information is a text
  await shown.setInfo({ name: "Grace" });
  // @ts-expect-error there is no such event of a room
  chat.on("state", () => {});
  const { id, ids } = await chat.publish("x");
  void [id?.length, ids[0]?.length];
  connect("ws://localhost:8081", { resume: false });
  await room.publish(parts, { noEcho: true, command: "say", headers: [["a", "b"]] });
  await lhttp.publish(["a", "b"], "hi", { signal: AbortSignal.timeout(1_000), retry: true });
  const { status, ok } = await lhttp.request("GET http://host/", { timeout: 1 });
  for await (const { channel, body } of await lhttp.subscribe("a.*")) void [channel?.length, body.length, status, ok];
  lhttp.send("chat", { publish: "a" }, "hi");
  // @ts-expect-error there is no such event
  lhttp.on("open", () => {});
  // @ts-expect-error a state is one of four
  void (lhttp.state === "opened");
  off();
  await room.unsubscribe();
  lhttp.close();
}
