// A chat room: connect, subscribe, publish, render. What it looks like is in page.js, who is there in people.js.

import { connect } from "./lhttp.mjs";
import * as page from "./page.js";
import * as people from "./people.js";

const [, host, port] = /^(.*):(\d+)$/.exec(document.querySelector("meta[name=lhttp-server]").content);
const lhttp = connect(`ws://${host || location.hostname}:${port}/`, { offline: "fail", backoff: { max: 10_000 } });
const joined = new Map();

// A room is a channel: who subscribes to it gets what is published there from then on.
function join(room) {
  joined.set(
    room,
    lhttp.subscribe(room, (message) => receive(room, message)),
  );
  joined.get(room).then(
    () => tell(room, "join"),
    (error) => page.note(`You are not in this room: ${error.message}.`, [room]),
  );
}

async function leave(room) {
  const subscribing = joined.get(room);
  joined.delete(room);
  tell(room, "leave");
  (await subscribing).unsubscribe();
}

// Shown at once as being sent; what becomes of it is shown when the server has told.
async function say(room, text, key = page.freshKey()) {
  page.showMessage(room, page.me, key, text, "sending");
  try {
    const headers = { from: page.me.id, name: page.me.name, key };
    await lhttp.publish(room, text, { headers, noEcho: true });
    page.showFate(room, key, "sent");
  } catch (error) {
    page.showFate(room, key, "failed", `Not sent: ${error.message}.`, () => say(room, text, key));
  }
}

function receive(room, message) {
  const person = { id: message.header("from") ?? "", name: message.header("name")?.slice(0, 24) || "Somebody" };
  if (message.command === "chat") {
    page.showMessage(room, person, message.header("key") ?? page.freshKey(), message.text());
  }
  if (people.heard(room, person, message.command)) tell(room, "here");
}

// join, here, leave: commands of our own making, which the server carries like any other.
function tell(room, command) {
  const headers = { from: page.me.id, name: page.me.name };
  lhttp.publish(room, "", { command, headers, noEcho: true }).catch(() => {}); // the next one will do
}

const tellAll = (command) => [...joined.keys()].forEach((room) => tell(room, command));

page.start({ join, leave, say, renamed: () => tellAll("here") });
people.watch(() => tellAll("here"));
lhttp.on("error", (error) => page.note(error.message));
lhttp.on("state", ({ state, retryIn }) => {
  page.showState(state, retryIn);
  if (state === "open") tellAll("join");
});
addEventListener("pagehide", () => tellAll("leave"));
