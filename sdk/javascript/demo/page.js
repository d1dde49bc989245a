// The look of the page and its controls. Nothing here knows the server; the pieces are templates in index.html.

const LINES_MAX = 500; // of a room; past it the oldest goes
const GROUP_LASTS = 300_000; // ms in which one person's messages share one name
const YEAR = 31_536_000_000; // ms; a message that says that it is older is not believed
const STATES = { connecting: "Connecting…", open: "Connected", waiting: "Not connected", closed: "Closed" };

export const $ = (id) => document.getElementById(id);
const rooms = new Map();
let actions, shown, countdown, wasLost;

export const freshKey = () => Math.random().toString(36).slice(2);
export const me = { id: (sessionStorage.id ??= freshKey()), name: "" }; // a reload finds its own messages again

export function start(given) {
  actions = given;
  $("theme").value = localStorage.theme ?? "auto";
  $("theme").onchange = () => (localStorage.theme = $("theme").value);
  $("leave").onclick = leave;
  $("rename").onclick = askName;
  $("help").onclick = () => $("keys").showModal();
  $("message").oninput = () => actions.people.write(shown.name, $("message").value);
  $("naming").onclose = () => setName($("name").value);
  addEventListener("submit", onSubmit);
  addEventListener("keydown", onKey);
  addEventListener("hashchange", () => shown && enter(hashRoom()));
  addEventListener("visibilitychange", markRead);
  if (sessionStorage.name) setName(sessionStorage.name);
  else askName();
}

export function showState(state, retryIn) {
  const until = Date.now() + retryIn;
  const tick = () => ($("countdown").textContent = Math.max(0, Math.ceil((until - Date.now()) / 1000)));
  clearInterval(countdown);
  if (state === "waiting") countdown = setInterval(tick, 250, tick());
  const isKept = document.body.dataset.history !== "none";
  const later = isKept ? "comes afterwards, if the server still has it" : "is not shown here";
  if (state === "waiting" && !wasLost) note(`The connection is lost. What is said until it is back ${later}.`);
  if (state === "open" && wasLost) note("Connected again.");
  wasLost = state === "waiting" || (wasLost && state !== "open");
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
}

export function showMessage(name, person, message, fate = "", why = "", retry = undefined) {
  const room = rooms.get(name);
  if (!room) return; // the user has left the room
  // The line exists already if the message was sent again to be sure.
  const line = room.end.querySelector(`[data-key="${CSS.escape(message.key)}"]`) ?? addLine(room, person, message);
  line.dataset.fate = fate;
  line.querySelector(".fate span").textContent = why;
  line.querySelector(".fate button").onclick = retry;
}

function addLine(room, { id, name }, { key, text, time, isNew = true }) {
  const [isOwn, now] = [id === me.id, Date.now()];
  const saidAt = time > now - YEAR && time < now ? Number(time) : now; // the writer's clock may be wrong
  if (isNew && !isOwn && !isSeen(room)) showUnread(room, room.unread + 1);
  const isHead = room.speaker !== id + name || saidAt - room.spokenAt > GROUP_LASTS;
  const line = make("line", { b: isOwn ? "You" : name, time: clock(saidAt), ".text": text }, name);
  line.className = `line ${isOwn ? "own" : ""} ${isHead ? "head" : ""}`;
  put(room, line, key, saidAt);
  Object.assign(room, { speaker: id + name, spokenAt: saidAt });
  return line;
}

export function note(text, names = rooms.keys()) {
  for (const name of names) if (rooms.has(name)) put(rooms.get(name), make("note", { span: text, time: clock() }));
}

function put(room, line, key = "", at = Date.now()) {
  const day = new Date(at).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
  if (room.day !== day) room.end.append(make("day", { span: (room.day = day) }));
  room.end.append(line);
  room.speaker = "";
  line.dataset.key = key;
  if (room.end.childElementCount > LINES_MAX) room.end.firstElementChild.remove();
}

function enter(name) {
  if (!rooms.has(name)) add(name);
  shown = rooms.get(name);
  for (const room of rooms.values()) {
    room.log.hidden = room !== shown;
    room.link.ariaCurrent = room === shown ? "page" : null;
  }
  $("title").textContent = name;
  $("message").placeholder = `Message ${name}`;
  localStorage.rooms = names().join(" ");
  actions.people.show(name);
  shown.link.scrollIntoView({ block: "nearest" });
  markRead();
}

function add(name) {
  const [item, log] = [make("item", { span: name }), make("log", { b: name })];
  const link = item.firstElementChild;
  link.href = `#${encodeURIComponent(name)}`;
  log.ariaLabel = `Messages in ${name}`;
  log.onscroll = markRead;
  $("rooms").append(item);
  $("logs").append(log);
  rooms.set(name, { name, item, link, log, end: log.firstElementChild, unread: 0 });
  actions.join(name);
}

function leave() {
  const { name, item, log } = shown;
  step(1);
  item.remove();
  log.remove();
  rooms.delete(name);
  actions.leave(name);
}

const names = () => [...rooms.keys()];
const step = (by) => (location.hash = names().at((names().indexOf(shown.name) + by) % rooms.size));
const isSeen = (room) => room === shown && !document.hidden && room.log.scrollTop > -80;
const markRead = () => shown && isSeen(shown) && showUnread(shown, 0);

function showUnread(room, count) {
  if (count === 1) room.end.querySelector(".new")?.remove();
  if (count === 1) put(room, make("new", {}));
  room.unread = count;
  room.item.querySelector(".badge b").textContent = count || "";
  const all = [...rooms.values()].reduce((sum, { unread }) => sum + unread, 0);
  document.title = `${all ? `(${all}) ` : ""}${shown.name} · lhttp chat`;
}

function askName() {
  $("name").value = me.name || localStorage.name || "";
  $("naming").showModal();
  $("name").select();
}

function setName(text) {
  me.name = text.replace(/\p{Cc}/gu, "").trim() || me.name || "Somebody";
  localStorage.name = sessionStorage.name = me.name;
  actions.rename();
  $("rename").replaceChildren(make("you", { b: me.name }, me.name));
  if (!shown) for (const name of (localStorage.rooms || "lobby").split(" ")) add(name);
  enter(hashRoom());
  $("message").focus();
}

function onSubmit(event) {
  if (event.target.method === "dialog") return;
  event.preventDefault();
  const text = event.target.elements[0].value.trim();
  event.target.reset();
  $("message").focus();
  if (event.target === $("join")) location.hash = slug(text) || shown.name;
  else if (text) actions.say(shown.name, text);
  shown.log.scrollTop = 0; // the end: the layout starts there
}

function onKey(event) {
  const keys = { ArrowUp: () => step(-1), ArrowDown: () => step(1), KeyJ: () => $("room").focus(), KeyN: askName };
  const act = { ...keys, KeyH: $("help").onclick }[event.code];
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  if (event.altKey && !event.ctrlKey && act) act();
  else if (event.key === "Escape") $("message").focus();
  else if (event.key === "Enter" && !event.shiftKey && event.target === $("message")) $("say").requestSubmit();
  else return;
  event.preventDefault();
}

const slug = (text) => (text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []).join("-").slice(0, 30);
const hashRoom = () => slug(new URLSearchParams(`room=${location.hash.slice(1)}`).get("room")) || names()[0];
const clock = (at = Date.now()) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// A copy of a template with a person's face. Its parts are filled in as text and never as markup.
export function make(template, texts, person = "") {
  const node = $(template).content.firstElementChild.cloneNode(true);
  for (const [part, text] of Object.entries(texts)) node.querySelector(part).textContent = text;
  const initials = person.match(/(?<![\p{L}\p{N}])[\p{L}\p{N}]/gu) ?? ["?"];
  node.querySelector(".avatar")?.append(...initials.slice(0, 2));
  const sum = [...person].reduce((sum, char) => (sum * 33 + char.codePointAt(0)) % 65_521, 5_381);
  if (person) node.style.setProperty("--hue", (sum % 12) * 30);
  return node;
}
