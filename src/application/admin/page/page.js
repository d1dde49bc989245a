// Live figures of one lhttpd: asks for them each second while somebody sees the page.

import { Chart, set, SPAN } from "./charts.js";
import { all, between, bytes, count, long, percent, time } from "./figures.js";

const EVERY = 1000;
const TOP_EVERY = 2000;
const CONFIGURATION_EVERY = 60_000;
/** How long an answer may take. */
const PATIENCE = 5000;

const $ = (selector) => document.querySelector(selector);

/** What is known of each second: the times, and a list for each figure. */
const times = [];
const points = {};
for (const name of ["connections", "received", "delivered", "read", "written", "p50", "p99", "p999"]) points[name] = [];
for (const name of ["resident", "kept", "cpu", "busiest"]) points[name] = [];

const series = (names) => Object.entries(names).map(([name, key]) => ({ name, points: points[key] }));

const charts = [
  {
    title: "Connections",
    show: count,
    series: series({ open: "connections" }),
    floor: 10,
  },
  {
    title: "Messages a second",
    show: count,
    series: series({ in: "received", out: "delivered" }),
    floor: 10,
  },
  {
    title: "Delivery latency",
    show: time,
    series: series({ p50: "p50", p99: "p99", "p99.9": "p999" }),
    log: true,
  },
  {
    title: "Bytes a second",
    show: bytes,
    series: series({ in: "read", out: "written" }),
    floor: 1024,
    bytes: true,
  },
  {
    title: "Memory",
    show: bytes,
    series: series({ process: "resident", "kept for clients": "kept" }),
    floor: 2 ** 20,
    bytes: true,
  },
  {
    title: "Processor",
    show: percent,
    series: series({ process: "cpu", "busiest core": "busiest" }),
    floor: 0.1,
  },
].map((spec) => new Chart(times, spec));
$("#charts").append(...charts.map(({ figure }) => figure));

/** The tiles and their texts, each a large and a small one. */
const TILES = [
  ["Connections", ({ next }) => [all(next.stats.connections), `of ${all(next.connections_max)}`]],
  ["Messages in", ({ rates }) => [count(rates.received), "a second"]],
  ["Deliveries", ({ rates }) => [count(rates.delivered), "a second"]],
  ["Delivery, 99 %", ({ rates }) => [Number.isNaN(rates.p99) ? "–" : time(rates.p99), "or less"]],
  [
    "Memory",
    ({ next: { memory } }) => [
      memory.resident_bytes === null ? "–" : bytes(memory.resident_bytes),
      `${bytes(memory.kept_bytes)} of ${bytes(memory.budget_bytes)} kept`,
    ],
  ],
  ["Processor", ({ rates }) => [Number.isNaN(rates.cpu) ? "–" : percent(rates.cpu), "of one core"]],
];
const tiles = TILES.map(([title, texts]) => {
  const tile = $("#tile").content.firstElementChild.cloneNode(true);
  set(tile.querySelector("dt"), title);
  $("#tiles").append(tile);
  return {
    texts,
    large: tile.querySelector("b"),
    small: tile.querySelector("span"),
  };
});

/** Fills a table with these texts; the first of a row is its heading. Its cells are used again. */
function fill(table, rows, empty) {
  const body = $(`${table} tbody`);
  const columns = $(`${table} thead tr`).childElementCount;
  const shown = rows.length ? rows : [[empty]];
  while (body.rows.length > shown.length) body.lastElementChild.remove();
  for (const [index, texts] of shown.entries()) {
    const row = body.rows[index] ?? body.insertRow();
    const isWhole = rows.length === 0;
    if (row.dataset.whole !== `${isWhole}`) {
      row.replaceChildren();
      row.dataset.whole = `${isWhole}`;
    }
    while (row.cells.length < texts.length) {
      const cell = row.appendChild(document.createElement(row.cells.length === 0 && !isWhole ? "th" : "td"));
      if (cell.localName === "th") cell.scope = "row";
      if (isWhole) cell.colSpan = columns;
    }
    for (const [at, text] of texts.entries()) set(row.cells[at], `${text}`);
  }
}

/** Shows cards, each a title and pairs of texts. */
function showCards(cards) {
  const place = $("#cards");
  while (place.childElementCount > cards.length) place.lastElementChild.remove();
  for (const [index, { title, state, pairs }] of cards.entries()) {
    const card = place.children[index] ?? place.appendChild($("#card").content.firstElementChild.cloneNode(true));
    card.dataset.state = state;
    set(card.querySelector("h3"), title);
    const list = card.querySelector("dl");
    while (list.childElementCount > pairs.length) list.lastElementChild.remove();
    for (const [at, [name, text]] of pairs.entries()) {
      const pair = list.children[at] ?? list.appendChild(document.createElement("div"));
      if (!pair.childElementCount) pair.append(document.createElement("dt"), document.createElement("dd"));
      set(pair.firstChild, name);
      set(pair.lastChild, text);
    }
  }
}

const WHAT = {
  connections_ended: "Connections ended",
  connections_refused: "Connections refused",
  messages_refused: "Messages refused",
  http_requests_refused: "Requests refused",
  tokens_refused: "Tokens refused",
  upstream_requests_refused: "Upstream requests refused",
};

/** The reasons of each of the last 60 seconds, to tell what is new. */
const minute = [];

function showReasons(next) {
  minute.push({ uptime: next.uptime, reasons: next.reasons });
  while (minute.length > 1 && minute[0].uptime < next.uptime - 61) minute.shift();
  const rows = [];
  for (const [what, reasons] of Object.entries(next.reasons)) {
    const known = Object.entries(reasons).filter(([, number]) => number > 0);
    known.sort(([, one], [, other]) => other - one);
    for (const [reason, number] of known) {
      const before = minute[0].reasons[what][reason];
      rows.push([WHAT[what] ?? what, reason.replaceAll("_", " "), all(number - before), all(number)]);
    }
  }
  fill("#reasons-table", rows, "None so far.");
}

function showHealth({ stats, uptime, nats, upstream, latency, process, memory, tls }) {
  const cards = [
    {
      title: "Server",
      state: stats.panics > 0 ? "bad" : "good",
      pairs: [
        ["Up", long(uptime)],
        [
          "Open files",
          process.open_files === null ? "–" : `${all(process.open_files)} of ${all(process.open_files_max)}`,
        ],
        ["Stalls of a core", all(stats.stalls)],
        ["Panics", all(stats.panics)],
        ["Handshakes", all(latency.handshakes.counts.reduce((sum, number) => sum + number, 0))],
      ],
    },
    {
      title: "History",
      state: stats.history_refused > 0 ? "bad" : "good",
      pairs: [
        ["Channels", all(stats.history_channels)],
        ["Messages", all(stats.history_messages)],
        ["Memory", `${bytes(stats.history_bytes)} of ${bytes(memory.history_budget_bytes)}`],
        ["Publishes refused", all(stats.history_refused)],
      ],
    },
  ];
  if (nats) {
    cards.push({
      title: nats.connected ? "NATS: connected" : "NATS: not connected",
      state: nats.connected ? "good" : "bad",
      pairs: [
        ["Published, received", `${all(stats.nats_published)}, ${all(stats.nats_received)}`],
        ["Dropped out, in", `${all(stats.nats_publish_dropped)}, ${all(stats.nats_receive_dropped)}`],
        ["Waiting", bytes(stats.nats_waiting_bytes)],
        ["Disconnects", all(stats.nats_disconnects)],
      ],
    });
  }
  if (upstream) {
    cards.push({
      title: "Upstream",
      state: "good",
      pairs: [
        ["Waiting", all(stats.upstream_waiting)],
        ["Answered", all(stats.upstream_answered)],
        ["Failed, timed out", `${all(stats.upstream_failed)}, ${all(stats.upstream_timed_out)}`],
        ["Refused", all(stats.upstream_busy + stats.upstream_over_share)],
      ],
    });
  }
  if (tls) {
    cards.push({
      title: "TLS",
      state: stats.tls_days_left < 7 ? "bad" : "good",
      pairs: [
        ["Certificate", `${all(stats.tls_days_left)} days left`],
        ["Handshakes", all(stats.tls_handshakes)],
        ["Handshakes failed", all(stats.tls_failed)],
        ["Reloads failed", all(stats.tls_reloads_failed)],
      ],
    });
  }
  showCards(cards);
}

function showCores(next, rates) {
  const rows = next.cores.map((core, index) => {
    const { busy, received, delivered } = rates.cores[index];
    return [
      index,
      core.cpu ?? "any",
      percent(busy),
      all(core.connections),
      all(core.subscriptions),
      count(received),
      count(delivered),
      all(core.backlogs),
      `${bytes(core.kept_bytes)} of ${bytes(core.kept_limit_bytes)}`,
      all(core.stalls),
    ];
  });
  fill("#cores-table", rows, "");
}

let last;
/** Publishes in the last second. */
let publishes = 0;

/** Takes an answer. The second one after a start or a pause gives the first figures. */
function take(next) {
  const isNew = last === undefined || last.started !== next.started || next.uptime <= last.uptime;
  const before = last;
  last = next;
  set($("#version"), next.version);
  set($("#up"), `up ${long(next.uptime)}`);
  if (isNew) {
    minute.length = 0;
    return;
  }
  const rates = between(before, next);
  publishes = rates.published;
  const now = {
    ...rates,
    connections: next.stats.connections,
    resident: next.memory.resident_bytes ?? NaN,
    kept: next.memory.kept_bytes,
    busiest: Math.max(...rates.cores.map(({ busy }) => busy)),
  };
  const at = performance.now() / 1000;
  if (times.length && at - times.at(-1) > 5) add(at - 1, {}); // a gap, not a line
  add(at, now);
  while (times.length > SPAN || times.at(-1) - times[0] > SPAN) {
    times.shift();
    for (const list of Object.values(points)) list.shift();
  }
  for (const { texts, large, small } of tiles) {
    const [one, other] = texts({ next, rates });
    set(large, one);
    set(small, other);
  }
  for (const chart of charts) chart.draw();
  showCores(next, rates);
  showReasons(next);
  showHealth(next);
}

function add(at, values) {
  times.push(at);
  for (const [name, list] of Object.entries(points)) list.push(values[name] ?? NaN);
}

function showTop({ busiest, slowest }) {
  // The part of all that is published, or of what is told of, if that is more: it is of a longer time.
  const told = busiest.reduce((sum, { messages_per_second }) => sum + messages_per_second, 0);
  const published = Math.max(told, publishes);
  fill(
    "#channels-table",
    busiest.map(({ name, messages_per_second: rate }) => [name, count(rate), percent(Math.min(1, rate / published))]),
    "No messages now.",
  );
  fill(
    "#readers-table",
    slowest.map(({ id, user, address, backlog_bytes, backlog_seconds }) => [
      id,
      user ?? "–",
      address ?? "–",
      bytes(backlog_bytes),
      long(backlog_seconds),
    ]),
    "All read as fast as they are sent to.",
  );
}

let configuration = { options: [], channels: [] };

function showConfiguration() {
  const find = $("#find").value.trim().toLowerCase();
  const options = configuration.options.filter(
    ({ name, section, is_set }) => (is_set || !$("#changed").checked) && `${section} ${name}`.includes(find),
  );
  const rows = options.map(({ name, value, default: preset }) => [name, value?.join(", ") ?? "–", preset ?? "–"]);
  const rules = configuration.channels.map((rule, index) => [`channel rule ${index + 1}`, rule, "–"]);
  fill("#configuration-table", [...rows, ...rules.filter(([name]) => name.includes(find))], "No such option.");
}
$("#find").addEventListener("input", showConfiguration);
$("#changed").addEventListener("change", showConfiguration);
$("#filter").addEventListener("submit", (event) => event.preventDefault());

function say(state, text) {
  document.body.dataset.state = state;
  set($("#state"), text);
}

/** Asks for a path; says why there is no answer. */
async function ask(path) {
  const answer = await fetch(path, {
    signal: AbortSignal.timeout(PATIENCE),
    cache: "no-store",
  });
  if (answer.status === 401) throw new Error("The key is not accepted: load the page again to give it.");
  if (!answer.ok) throw new Error(`The server answers ${answer.status}.`);
  return answer.json();
}

/** When each path was last asked for. */
const asked = { top: -Infinity, configuration: -Infinity };

async function refresh() {
  take(await ask("./api/status"));
  say("open", "Live");
  const now = performance.now();
  if (now - asked.top > TOP_EVERY - EVERY / 2) {
    asked.top = now;
    showTop(await ask("./api/top"));
  }
  if (now - asked.configuration > CONFIGURATION_EVERY) {
    configuration = await ask("./api/configuration");
    asked.configuration = now;
    showConfiguration();
  }
}

let timer;
let isAsking = false;

async function run() {
  if (document.hidden || isAsking) return;
  isAsking = true;
  clearTimeout(timer);
  const began = performance.now();
  try {
    await refresh();
  } catch (error) {
    const isTold = error.message.startsWith("The ");
    say("lost", isTold ? error.message : "The server does not answer. Trying again…");
  }
  isAsking = false;
  timer = setTimeout(run, Math.max(100, EVERY - (performance.now() - began)));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else run();
});

const theme = $("#theme");
theme.value = localStorage.getItem("lhttpd.theme") ?? "auto";
theme.addEventListener("change", () => localStorage.setItem("lhttpd.theme", theme.value));
run();
