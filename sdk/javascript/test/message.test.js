import assert from "node:assert/strict";
import { test } from "node:test";

import { headerPairs } from "../src/headers.js";
import { decodeMessage, encodeMessage } from "../src/message.js";
import { decodeText, encodeText, utf8Length } from "../src/text.js";
import { forAll } from "./support/random.js";

test("a message is read as it was written, with its empty lines and colons", () => {
  const text = "LHTTP/1.0 chat\r\npublish:a b\r\nUrl: http://x:1/ \r\npublish:c\r\n\r\none\r\n\r\ntwo: 3";
  const message = decodeMessage(text);
  assert.equal(message.command, "chat");
  assert.deepEqual(message.headers, [
    ["publish", "a b"],
    ["Url", "http://x:1/"],
    ["publish", "c"],
  ]);
  assert.equal(message.header("URL"), "http://x:1/");
  assert.equal(message.header("from"), undefined);
  assert.deepEqual(message.channels, ["a", "b", "c"]);
  assert.equal(message.body, "one\r\n\r\ntwo: 3");
});

test("a payload that is not LHTTP is not read", () => {
  for (const data of [
    "",
    "hello",
    "LHTTP/1.0",
    "LHTTP/1.0 chat\r\n",
    "LHTTP/2.0 chat\r\n\r\n",
    "HTTP/1.1 200\r\n\r\n",
  ]) {
    assert.equal(decodeMessage(data), undefined, data);
    assert.equal(decodeMessage(encodeText(data)), undefined, data);
  }
});

test("text is encoded as a string and bytes as bytes", () => {
  assert.equal(encodeMessage("c", [["a", "ü"]], "☂"), "LHTTP/1.0 c\r\na:ü\r\n\r\n☂");
  const binary = encodeMessage("c", [["a", "ü"]], new Uint8Array([0, 255]));
  assert.deepEqual(binary, new Uint8Array([...encodeText("LHTTP/1.0 c\r\na:ü\r\n\r\n"), 0, 255]));
  const read = decodeMessage(binary);
  assert.equal(read.header("a"), "ü");
  assert.deepEqual(read.bytes(), new Uint8Array([0, 255]));
  assert.deepEqual(encodeMessage("c", [], new Uint16Array([258]).buffer).slice(-2), new Uint8Array([2, 1]));
  assert.equal(decodeMessage(encodeMessage("c", [], encodeText("☂"))).text(), "☂");
  assert.deepEqual(decodeMessage(encodeMessage("c", [], '{"a":[1]}')).json(), { a: [1] });
  assert.throws(() => encodeMessage("c", [], 7), { reason: "bad-body" });
});

test("headers may be an object, pairs, a Map or Headers, and lists repeat them", () => {
  const expected = [
    ["a", "1"],
    ["b", "x"],
  ];
  assert.deepEqual(headerPairs({ a: 1, b: "x", c: undefined }), expected);
  assert.deepEqual(headerPairs(expected), expected);
  assert.deepEqual(headerPairs(new Map(Object.entries({ a: "1", b: "x" }))), expected);
  assert.deepEqual(headerPairs(new Headers({ a: "1", b: "x" })), expected);
  assert.deepEqual(headerPairs({ a: ["1", "2"] }), [
    ["a", "1"],
    ["a", "2"],
  ]);
  assert.deepEqual(headerPairs(null), []);
});

test("nobody injects a header or a body through a value, a name or a command", () => {
  for (const value of ["a\r\nsubscribe:>", "a\nb", "a\rb", "a\0b", "\x7f", "a\r\n\r\nbody"]) {
    assert.throws(() => headerPairs({ from: value }), { code: 400, reason: "bad-header" }, JSON.stringify(value));
    assert.throws(() => headerPairs([["from", value]]), { code: 400, reason: "bad-header" }, JSON.stringify(value));
  }
  for (const name of ["", "a b", "a:b", "a\r\nb", "ü", "a".repeat(65)]) {
    assert.throws(() => headerPairs({ [name]: "x" }), { code: 400, reason: "bad-header" }, JSON.stringify(name));
  }
  for (const command of ["", "a b", "a\r\nb", "ü", "a".repeat(65), undefined]) {
    assert.throws(() => encodeMessage(command, []), { code: 400, reason: "bad-start-line" });
  }
  assert.deepEqual(headerPairs({ "x-Y_1~": "tab\tand ü" }), [["x-Y_1~", "tab\tand ü"]]);
});

test("any message that is written is read again, as text and as bytes", () => {
  forAll(1_000, (random) => {
    const text = (most) => random.list(most, () => random.pick(["a", ":", " ", "ü", "☂", "😀", "\t"])).join("");
    const headers = random.list(4, () => [random.pick(["a", "b-c", "D"]), text(5).trim()]);
    const body = random.list(20, () => random.pick(["\r\n", "\r", "\n", ":", "☂", "😀", "x"])).join("");
    for (const [given, expected] of [
      [body, body],
      [encodeText(body), encodeText(body)],
    ]) {
      const message = decodeMessage(encodeMessage("cmd", headers, given));
      assert.deepEqual([message.command, message.headers, message.body], ["cmd", headers, expected]);
      assert.equal(message.text(), body);
    }
  });
});

test("the UTF-8 length equals the number of bytes, whatever the surrogates", () => {
  forAll(2_000, (random) => {
    const text = random.list(8, () => random.pick(["a", "ü", "☂", "😀", "\ud83d", "\ude00", "\uffff", "\0"])).join("");
    assert.equal(utf8Length(text), encodeText(text).length, JSON.stringify(text));
  });
  assert.equal(decodeText(encodeText("\ufeffa")), "\ufeffa");
});
