// A chat room: connect, subscribe, publish, render. Its look is in page.js, who is here and who is writing in people.js.

import { connect } from "./lhttp.mjs";
import { freshKey, me, note, showMessage, showState, start } from "./page.js";
import * as people from "./people.js";

const [, host, port] = /^(.*):(\d+)$/.exec(document.querySelector("meta[name=lhttp-server]").content);
const lhttp = connect(`ws://${host || location.hostname}:${port}/`, { offline: "fail", backoff: { max: 10_000 } });
const joined = new Map();

// A room is a channel: a subscriber gets its last messages, if the server keeps them, and every message from then on.
function join(room) {
  let isNew = false;
  const options = { last: 100, info: people.card() };
  const subscribing = lhttp.subscribe(`chat.${room}`, (message) => receive(room, message, isNew), options);
  joined.set(room, subscribing);
  const ready = (subscription) => {
    isNew = true;
    if (joined.get(room) === subscribing) people.enter(lhttp, room, subscription);
    subscription.on("gap", () => note("Some messages may be missing here: the server has not kept them.", [room]));
  };
  subscribing.then(ready, (error) => note(`You are not in this room: ${error.message}.`, [room]));
}

function leave(room) {
  const ending = joined.get(room).then((subscription) => subscription.unsubscribe());
  ending.catch(() => {}); // the room was never joined, or the connection is gone, and the subscription with it
  joined.delete(room);
  people.leave(room);
}

// The others see the new name at once; where it cannot be told now, the next connection tells it.
function rename() {
  for (const subscribing of joined.values()) subscribing.then((room) => room.setInfo(people.card())).catch(() => {});
}

function receive(room, message, isNew) {
  const person = people.author(message);
  const line = { key: message.header("key") ?? freshKey(), text: message.text(), time: message.header("time"), isNew };
  showMessage(room, person, line);
  people.hasWritten(room, person);
}

// Shows the message at once as being sent, and its fate once the server has answered.
async function say(room, text, key = freshKey()) {
  const show = (...fate) => showMessage(room, me, { key, text }, ...fate);
  show("sending");
  people.hasWritten(room, me);
  try {
    const headers = { from: me.id, name: me.name, key, time: Date.now() };
    await lhttp.publish(`chat.${room}`, text, { headers, noEcho: true });
    show("sent");
  } catch (error) {
    show("failed", `Not sent: ${error.message}.`, () => say(room, text, key));
  }
}

lhttp.on("state", ({ state, retryIn }) => showState(state, retryIn));
lhttp.on("error", (error) => error.reason !== "no-presence" && note(error.message)); // then nobody is shown to be here
start({ join, leave, say, rename, people });
