import assert from "node:assert/strict";
import { test } from "node:test";

import { checkPublish, checkSubscribe, isPattern, matches, splitNames } from "../src/channel.js";
import { forAll } from "./support/random.js";

const accepts = (check, name) => {
  try {
    check(name);
    return true;
  } catch (error) {
    assert.equal(error.code, 400);
    assert.equal(error.reason, "bad-channel");
    return false;
  }
};

test("plain names are channels, and only a whole token is a wildcard", () => {
  for (const name of ["a", "a.b", "a*", "*a.b", "**", ">>", "Zürich.☂", "/~", "a".repeat(255), "ü".repeat(127)]) {
    assert.ok(accepts(checkPublish, name) && accepts(checkSubscribe, name) && !isPattern(name), name);
  }
  for (const name of ["*", ">", "a.*", "*.a", "a.>", "*.>"]) {
    assert.ok(!accepts(checkPublish, name) && accepts(checkSubscribe, name) && isPattern(name), name);
  }
});

test("a refusal says what is wrong with the name, in the server's words", () => {
  const sentence = (name) => {
    try {
      checkPublish(name);
    } catch (error) {
      return error.message;
    }
    return undefined;
  };
  assert.equal(sentence("a..b"), 'channel "a..b" has an empty token');
  assert.equal(sentence(""), 'channel "" is empty');
  assert.equal(sentence("a b"), 'channel "a b" has a space');
  assert.equal(sentence("a\r\nb"), 'channel "a\\r\\nb" has a control character');
  assert.equal(sentence("a".repeat(256)), `channel "${"a".repeat(64)}…" has 256 bytes, more than 255`);
  assert.equal(sentence("ü".repeat(128)), `channel "${"ü".repeat(64)}…" has 256 bytes, more than 255`);
  assert.equal(sentence("a.*"), 'channel "a.*" has a wildcard: patterns are for subscribing only');
  assert.throws(() => checkSubscribe("a.>.b"), { message: 'channel "a.>.b" has a ">" that is not its last token' });
  assert.throws(() => checkPublish(undefined), { reason: "bad-channel" });
});

test("the check agrees with the rules taken one by one", () => {
  forAll(2_000, (random) => {
    const name = random.list(7, () => random.pick([".", ".", "*", ">", "a", "ü", " ", "\n", "\x7f"])).join("");
    const tokens = name.split(".");
    const legal = tokens.every((token) => token !== "") && ![...name].some((c) => c <= " " || c === "\x7f");
    const wild = tokens.includes("*") || tokens.includes(">");
    const tail = tokens.indexOf(">");
    assert.equal(accepts(checkPublish, name), legal && !wild, JSON.stringify(name));
    assert.equal(
      accepts(checkSubscribe, name),
      legal && (tail < 0 || tail === tokens.length - 1),
      JSON.stringify(name),
    );
  });
});

/** A pattern as a regular expression, a second definition of its matches. */
function naive(pattern, channel) {
  const tokens = pattern.split(".").map((token, at, all) => {
    if (token === "*") return "[^.]+";
    if (token === ">" && at === all.length - 1) return ".+";
    return token.replace(/[*>]/g, "\\$&");
  });
  return new RegExp(`^${tokens.join("\\.")}$`).test(channel);
}

test("the matching agrees with regular expressions", () => {
  let matched = 0;
  forAll(5_000, (random) => {
    const name = (tokens) => [random.pick(tokens), ...random.list(3, () => random.pick(tokens))].join(".");
    const pattern = name(["a", "b", "*", "a*"]) + random.pick(["", "", ".>"]);
    const channel = name(["a", "b", "a*"]);
    const expected = naive(pattern, channel);
    matched += Number(expected);
    assert.equal(matches(pattern.split("."), channel.split(".")), expected, `${pattern} ${channel}`);
  });
  assert.ok(matched > 0 || process.env.SEED);
});

test("names in a value are separated by any number of spaces", () => {
  assert.deepEqual(splitNames("  a  b.c\td "), ["a", "b.c", "d"]);
  assert.deepEqual(splitNames(" \t "), []);
});
