import assert from "node:assert/strict";
import { test } from "node:test";

import { matches } from "../src/channel.js";
import { decodeMessage, encodeMessage } from "../src/message.js";
import { Subscription, Subscriptions } from "../src/subscriptions.js";
import { encodeText } from "../src/text.js";
import { forAll } from "./support/random.js";

const NAMES = ["a.a", "a.b", "b.b", "a.*", "*.b", ">", "b.>", "*.*"];
const CHANNELS = ["a.a", "a.b", "b.b", "c.c"];

const subscribed = (names, status = "live") => {
  const subscriptions = new Subscriptions();
  for (const name of names) {
    const subscription = new Subscription(name, "chat", []);
    subscription.status = status;
    subscriptions.add(subscription);
  }
  return subscriptions;
};

const matching = (names, channel) => names.filter((name) => matches(name.split("."), channel.split(".")));

const publish = (channels, body) => encodeMessage("chat", [["publish", channels.join(" ")]], body);

const assign = (subscriptions, data) => {
  const copy = subscriptions.assign(data, decodeMessage(data).channels);
  return copy && `${copy.subscription.name} of ${copy.channel}`;
};

test("each copy of a message goes to a different matching subscription", () => {
  const subscriptions = subscribed(["a.a", "a.*", ">"]);
  const data = publish(["a.a", "b.b"], "hi");
  const got = [1, 2, 3, 4].map(() => assign(subscriptions, data));
  assert.deepEqual(got, ["a.a of a.a", "a.* of a.a", "> of a.a", "> of b.b"]);
  // The same bytes once more are another message.
  assert.equal(assign(subscriptions, data), "a.a of a.a");
});

test("a message without a matching subscription is for none", () => {
  const subscriptions = subscribed(["a.a", "b.>"]);
  assert.equal(assign(subscriptions, publish(["c.c"], "")), undefined);
  assert.equal(assign(subscriptions, publish(["a.b"], "")), undefined);
});

test("text and binary messages of the same bytes are two messages", () => {
  const subscriptions = subscribed(["a.a", "a.*"]);
  const text = publish(["a.a"], "x");
  assert.equal(assign(subscriptions, text), "a.a of a.a");
  assert.equal(assign(subscriptions, encodeText(text)), "a.a of a.a");
  assert.equal(assign(subscriptions, text), "a.* of a.a");
  assert.equal(assign(subscriptions, encodeText(text)), "a.* of a.a");
});

/** All copies that a server sends of these messages, by subscription and channel. */
function copies(names, messages, random) {
  const streams = messages.flatMap(({ channels, data }) =>
    channels.flatMap((channel) => matching(names, channel).map((name) => ({ data, who: `${name} of ${channel}` }))),
  );
  // Any order. A real server is stricter, because it keeps the order of each channel.
  for (let at = streams.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [streams[at], streams[other]] = [streams[other], streams[at]];
  }
  return streams;
}

test("every subscription gets every message exactly once, in whatever order the copies come", () => {
  forAll(500, (random) => {
    const names = NAMES.filter(() => random.below(2) === 0);
    const subscriptions = subscribed(names);
    const messages = random.list(12, () => {
      const channels = [random.pick(CHANNELS), ...random.list(2, () => random.pick(CHANNELS))];
      // Few different bodies, so that the same bytes come again and again.
      const data = publish(channels, random.pick(["", "x", "y"]));
      return { channels, data: random.below(4) === 0 ? encodeText(data) : data };
    });
    const sent = copies(names, messages, random);
    const key = (data) => (typeof data === "string" ? data : `binary ${decodeMessage(data).text()} ${data.length}`);
    const got = sent.map(({ data }) => `${key(data)} ${assign(subscriptions, data)}`);
    assert.deepEqual(got.sort(), sent.map(({ data, who }) => `${key(data)} ${who}`).sort());
  });
});

// Before its confirmation a subscription may get copies but need not. After it is given up, it need not get any.
test("a live subscription misses no message, and none gets one twice, while others come and go", () => {
  forAll(500, (random) => {
    const subscriptions = new Subscriptions();
    /** The server's subscriptions, and the copies that it has sent and we have not read. */
    const served = new Set();
    const wire = [];
    /** What each subscription must receive, what it received, and how often a message was published to one channel. */
    const times = new Map();
    const due = new Map();
    const requests = [];
    let published = 0;

    const clientSubscribes = () => {
      const name = random.pick(NAMES);
      if (subscriptions.find(name)) return;
      const subscription = new Subscription(name, "chat", []);
      subscription.status = "asked";
      due.set(subscription, { got: [], expected: [] });
      subscriptions.add(subscription);
      requests.push({ subscription, served: true });
    };
    const clientUnsubscribes = () => {
      const subscription = random.pick(subscriptions.all());
      if (subscription?.status !== "live") return;
      subscription.status = "leaving";
      requests.push({ subscription, served: false });
    };
    const serverCarriesOut = () => {
      const request = requests.shift();
      if (!request) return;
      if (request.served) served.add(request.subscription);
      else served.delete(request.subscription);
      wire.push({ confirmed: request });
    };
    const serverPublishes = () => {
      const channels = [random.pick(CHANNELS), ...random.list(1, () => random.pick(CHANNELS))];
      published += 1;
      const data = publish(channels, `message ${published}`);
      for (const channel of channels) {
        for (const subscription of served) {
          if (!matches(subscription.tokens, channel.split("."))) continue;
          wire.push({ data, subscription, label: `${channel} ${published}` });
        }
        times.set(`${channel} ${published}`, (times.get(`${channel} ${published}`) ?? 0) + 1);
      }
    };
    const clientReads = () => {
      const frame = wire.shift();
      if (!frame) return;
      if (frame.confirmed?.served) {
        frame.confirmed.subscription.status = "live";
        subscriptions.settle(frame.confirmed.subscription);
      } else if (frame.confirmed) {
        subscriptions.remove(frame.confirmed.subscription);
      } else {
        const message = decodeMessage(frame.data);
        if (frame.subscription.status === "live") due.get(frame.subscription).expected.push(frame.label);
        const copy = subscriptions.assign(frame.data, message.channels);
        due.get(copy.subscription).got.push(`${copy.channel} ${message.body.split(" ")[1]}`);
      }
    };

    const steps = [
      clientSubscribes,
      clientUnsubscribes,
      serverCarriesOut,
      serverPublishes,
      serverPublishes,
      clientReads,
    ];
    for (let step = 0; step < 200; step += 1) random.pick(steps)();
    while (requests.length > 0) serverCarriesOut();
    while (wire.length > 0) clientReads();
    for (const { got, expected } of due.values()) {
      const count = (list, label) => list.filter((other) => other === label).length;
      for (const label of new Set([...got, ...expected])) {
        assert.ok(count(got, label) >= count(expected, label), `missed ${label}`);
        assert.ok(count(got, label) <= times.get(label), `got ${label} too often`);
      }
    }
  });
});
