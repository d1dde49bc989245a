// Who is in a room: each says so when it comes and then twice a minute, and is believed for a while.

import { showPeople } from "./page.js";

const TOLD_EVERY = 30_000;
const BELIEVED_FOR = 100_000; // a tab in the background may speak only once a minute
const KNOWN_MAX = 30; // more are not answered nor shown, or all would talk of nothing else
const rooms = new Map();

/** Takes note of what somebody said. True if it wants to be told who we are. */
export function heard(room, { id, name }, command) {
  const people = rooms.get(room) ?? new Map();
  rooms.set(room, people);
  if (command === "leave") people.delete(id);
  else if (id && (people.has(id) || people.size < KNOWN_MAX))
    people.set(id, { name, until: Date.now() + BELIEVED_FOR });
  showPeople(room, [...people.values()]);
  return command === "join" && people.has(id);
}

/** Calls `tell` now and then, and forgets those who are silent. */
export function watch(tell) {
  setInterval(() => {
    for (const [room, people] of rooms) {
      for (const [id, { until }] of people) if (until < Date.now()) people.delete(id);
      showPeople(room, [...people.values()]);
    }
    tell();
  }, TOLD_EVERY);
}
