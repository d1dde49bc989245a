// Who is in a room, and who is writing. The server knows the first; for the second there is a channel that keeps nothing.

import { $, make, me } from "./page.js";

const NAMES_MAX = 8; // shown; the others are counted
const WRITERS_MAX = 20; // of a room, because anybody can use any number of names
const TELL_EVERY = 2_000; // ms between two messages that somebody is writing
const WRITING_LASTS = 5_000; // ms after the last of them

const places = new Map();
let shown;

// What the others in a room see of this user.
export const card = () => JSON.stringify({ from: me.id, name: me.name });

export const author = (message) => person(message.header("from"), message.header("name"));

export function enter(lhttp, room, subscription) {
  const place = { lhttp, present: { users: [], more: 0 }, writers: new Map(), toldAt: -Infinity };
  places.set(room, place);
  subscription.on("presence", (present) => render(Object.assign(place, { present })));
  place.writing = lhttp.subscribe(`typing.${room}`, (message) => hear(place, author(message)));
  place.writing.catch(() => {}); // then nobody is seen writing
  render(place);
}

export function leave(room) {
  const ending = places.get(room)?.writing.then((subscription) => subscription.unsubscribe());
  ending?.catch(() => {}); // it has ended with the connection, or was refused
  places.delete(room);
}

export function show(room) {
  shown = room;
  render(places.get(room));
}

// This user is writing. The others are told now and then.
export function write(room, text) {
  const place = places.get(room);
  if (!place || !text.trim() || performance.now() < place.toldAt + TELL_EVERY) return;
  place.toldAt = performance.now();
  const telling = place.lhttp.publish(`typing.${room}`, "", { headers: { from: me.id, name: me.name }, noEcho: true });
  telling.catch(() => {}); // nobody misses it
}

// What somebody has written is there. What this user writes next is told at once.
export function hasWritten(room, { id }) {
  const place = places.get(room);
  if (place) stop(place, id);
  if (place && id === me.id) place.toldAt = -Infinity;
}

function hear(place, { id, name }) {
  const { lhttp, writers } = place;
  const isOld = lhttp.state !== "open"; // a server that keeps this channel after all sends it again
  if (isOld || id === me.id || (writers.size >= WRITERS_MAX && !writers.has(id))) return;
  clearTimeout(writers.get(id)?.timer);
  writers.set(id, { name, timer: setTimeout(() => stop(place, id), WRITING_LASTS) });
  render(place);
}

function stop(place, id) {
  clearTimeout(place.writers.get(id)?.timer);
  if (place.writers.delete(id)) render(place);
}

function render(place) {
  if (place !== places.get(shown)) return;
  const { users, more } = place?.present ?? { users: [], more: 0 };
  // A user who comes back is there twice for a moment.
  const people = [...new Map(users.map(personOf).map((one) => [keyOf(one), one])).values()];
  people.sort((one, other) => isOwn(other) - isOwn(one) || one.name.localeCompare(other.name));
  const items = people.slice(0, NAMES_MAX).map((one) => make("person", { bdi: one.name, i: you(one) }, one.name));
  const left = people.length - items.length + more;
  if (left > 0) items.push(make("others", { b: left }));
  $("here").replaceChildren(...items);
  $("typing").replaceChildren(...sentence([...(place?.writers.values() ?? [])]));
}

const keyOf = ({ id, name }) => `${id} ${name}`;
const isOwn = (one) => keyOf(one) === keyOf({ id: me.id, name: me.name });
const you = (one) => (isOwn(one) ? " (you)" : "");
const person = (id, name) => ({ id, name: (typeof name === "string" && name.slice(0, 24)) || "Somebody" });

// Other programs show something else, or nothing.
function personOf({ user, info }) {
  try {
    const { from, name } = JSON.parse(info);
    return person(String(from), name);
  } catch {
    return person(user, typeof info === "string" ? info : user);
  }
}

function sentence(writers) {
  const [first, second] = writers.map(({ name }) =>
    Object.assign(document.createElement("bdi"), { textContent: name }),
  );
  if (writers.length > 2) return ["Several people are writing…"];
  if (second) return [first, " and ", second, " are writing…"];
  return first ? [first, " is writing…"] : [];
}
