// What the page looks like and how it is used. Nothing here knows of the server; the pieces are templates in index.html.

const LINES_MAX = 500; // of a room; then the oldest goes
const GROUPED_FOR = 5 * 60_000; // so long one person's messages stand under one name
const STATES = { connecting: "Connecting…", open: "Connected", waiting: "Not connected", closed: "Closed" };
const HUES = [18, 40, 70, 130, 155, 180, 210, 235, 260, 285, 315, 345];

const $ = (id) => document.getElementById(id);
const rooms = new Map();
let actions, shown, countdown, wasLost;

export const freshKey = () => Math.random().toString(36).slice(2);
export const me = { id: freshKey(), name: "" };

export function start(given) {
  actions = given;
  $("theme").value = localStorage.theme ?? "auto";
  $("theme").onchange = () => (localStorage.theme = $("theme").value);
  onSubmit("join", () => (location.hash = slug($("room").value) || shown.name));
  onSubmit("say", () => {
    if ($("message").value.trim()) actions.say(shown.name, $("message").value.trim());
    shown.log.scrollTop = 0; // the end: it is laid out from there
  });
  $("leave").onclick = leave;
  $("rename").onclick = askName;
  $("help").onclick = () => $("keys").showModal();
  $("naming").onclose = () => setName($("name").value);
  if (sessionStorage.name) setName(sessionStorage.name);
  else askName();
}

export function showState(state, retryIn) {
  const until = Date.now() + retryIn;
  const tick = () =>
    ($("countdown").textContent = `Next try in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s`);
  clearInterval(countdown);
  if (state === "waiting") countdown = setInterval(tick, 250, tick());
  if (!wasLost && state === "waiting") note("The connection is lost. What is said until it is back is not shown here.");
  if (wasLost && state === "open") note("Connected again.");
  wasLost = state !== "open" && (wasLost || state === "waiting");
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
}

export function showMessage(name, { id, name: person }, key, text, fate) {
  const room = rooms.get(name);
  if (!room || (find(room, key) && !fate)) return; // left meanwhile, or sent twice to be sure
  if (!find(room, key)) {
    const isOwn = id === me.id;
    const isHead = room.speaker !== id + person || Date.now() - room.spokenAt > GROUPED_FOR;
    const line = make("line", { b: isOwn ? "You" : person, time: clock(), ".text": text }, person);
    line.className = `line ${isOwn ? "own" : ""} ${isHead ? "head" : ""}`;
    if (!isOwn && !isSeen(room)) showUnread(room, room.unread + 1);
    put(room, line, key);
    Object.assign(room, { speaker: id + person, spokenAt: Date.now() });
  }
  showFate(name, key, fate);
}

export function showFate(name, key, fate = "", why = "", retry) {
  const line = find(rooms.get(name), key);
  if (!line) return;
  line.dataset.fate = fate;
  line.querySelector(".fate span").textContent = why;
  line.querySelector(".fate button").onclick = retry;
}

export function showPeople(name, people) {
  const room = rooms.get(name);
  if (room) room.people = people;
  if (!room || room !== shown) return;
  const others = people.map((person) => make("person", { b: person.name }, person.name));
  $("people").replaceChildren(make("person", { b: `${me.name} (you)` }, me.name), ...others);
}

export function note(text, names = rooms.keys()) {
  for (const name of names) if (rooms.has(name)) put(rooms.get(name), make("note", { span: text, time: clock() }));
}

const find = (room, key) => room?.end.querySelector(`[data-key="${CSS.escape(key)}"]`);

function put(room, line, key = "") {
  const day = new Date().toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
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
  $("leave").hidden = rooms.size === 1;
  shown.link.scrollIntoView({ block: "nearest" });
  showPeople(name, shown.people);
  markRead();
}

function add(name) {
  const item = make("item", { span: name });
  const log = make("log", { b: name });
  const link = item.firstElementChild;
  link.href = `#${encodeURIComponent(name)}`;
  log.ariaLabel = `Messages in ${name}`;
  log.onscroll = markRead;
  $("rooms").append(item);
  $("logs").append(log);
  rooms.set(name, { name, item, link, log, end: log.firstElementChild, people: [], unread: 0 });
  localStorage.rooms = [...rooms.keys()].join(" ");
  actions.join(name);
}

function leave() {
  const { name, item, log } = shown;
  step(1);
  rooms.delete(name);
  item.remove();
  log.remove();
  localStorage.rooms = [...rooms.keys()].join(" ");
  actions.leave(name);
}

function step(by) {
  const names = [...rooms.keys()];
  location.hash = names.at((names.indexOf(shown.name) + by) % names.length);
}

const isSeen = (room) => room === shown && !document.hidden && room.log.scrollTop > -80;
const markRead = () => isSeen(shown) && showUnread(shown, 0);

function showUnread(room, count) {
  if (count === 1) {
    room.end.querySelector(".new")?.remove();
    put(room, make("new", {}));
  }
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
  const isFirst = !me.name;
  me.name = text.replace(/\p{Cc}/gu, "").trim() || me.name || "Somebody";
  localStorage.name = sessionStorage.name = me.name;
  $("rename").replaceChildren(make("you", { b: me.name }, me.name));
  if (isFirst) comeIn();
  else actions.renamed();
  enter(hashRoom());
  $("message").focus();
}

// To the rooms of the last time, and the one of the address.
function comeIn() {
  for (const name of (localStorage.rooms || "lobby").split(" ")) add(name);
  addEventListener("hashchange", () => enter(hashRoom()));
  addEventListener("visibilitychange", markRead);
  addEventListener("keydown", onKey);
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

function onSubmit(form, act) {
  $(form).onsubmit = (event) => {
    event.preventDefault();
    act();
    $(form).reset();
    $("message").focus();
  };
}

const slug = (text) => (text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []).join("-").slice(0, 30);
const hashRoom = () => slug(new URLSearchParams(`room=${location.hash.slice(1)}`).get("room")) || [...rooms.keys()][0];
const clock = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// A copy of a template, its parts filled in as text and never as markup, and the face of a person.
function make(template, texts, person = "") {
  const node = $(template).content.firstElementChild.cloneNode(true);
  for (const [part, text] of Object.entries(texts)) node.querySelector(part).textContent = text;
  const face = node.querySelector(".avatar");
  if (!face) return node;
  face.textContent =
    person
      .match(/(?<![\p{L}\p{N}])[\p{L}\p{N}]/gu)
      ?.slice(0, 2)
      .join("") ?? "?";
  const sum = [...person].reduce((sum, char) => (sum * 33 + char.codePointAt(0)) % 65_521, 5_381);
  face.parentElement.style.setProperty("--hue", HUES[sum % HUES.length]);
  return node;
}
