import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeMessage, encodeMessage } from "../src/message.js";
import { multipart, readMultipart } from "../src/multipart.js";
import { encodeText } from "../src/text.js";
import { forAll } from "./support/random.js";

test("the protocol's example is cut as it says", () => {
  const body = "k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2";
  const message = decodeMessage(`LHTTP/1.0 upload\r\nmultipart:0 14\r\n\r\n${body}`);
  assert.deepEqual(
    message.parts().map((part) => [part.header("K1"), part.header("k2"), part.body]),
    [
      ["v1", undefined, "body1"],
      [undefined, "v2", "body2"],
    ],
  );
  const made = multipart([
    { headers: { k1: "v1" }, body: "body1" },
    { headers: { k2: "v2" }, body: "body2" },
  ]);
  assert.deepEqual([made.offsets, made.body], ["0 14", body]);
});

test("offsets count bytes of UTF-8, not units of UTF-16", () => {
  const made = multipart([{ headers: { name: "ü" }, body: "😀☂" }, { body: "x" }]);
  // name:ü CR LF CR LF is 7 + 4 bytes, the body 4 + 3.
  assert.equal(made.offsets, "0 18");
  const parts = decodeMessage(encodeMessage("upload", [], made)).parts();
  assert.deepEqual(
    parts.map((part) => part.body),
    ["😀☂", "x"],
  );
});

test("halves of a surrogate pair at the end of one part and the start of the next stay apart", () => {
  const made = multipart([{ body: "\ud83d" }, { body: "\ude00" }]);
  const [one, two] = readMultipart(made.offsets, encodeText(made.body), true);
  assert.deepEqual([one.body, two.body], ["\ufffd", "\ufffd"]);
});

test("bytes in one part make the whole message binary", () => {
  const made = multipart([
    { headers: { "content-type": "text/plain" }, body: "ü" },
    { body: new Uint8Array([0, 13, 10, 255]) },
  ]);
  const message = decodeMessage(encodeMessage("upload", [], made));
  assert.ok(message.body instanceof Uint8Array);
  const [text, bytes] = message.parts();
  assert.equal(text.text(), "ü");
  assert.deepEqual(bytes.bytes(), new Uint8Array([0, 13, 10, 255]));
});

test("wrong offsets and parts are refused, as the server does", () => {
  const body = encodeText("\r\none\r\ntwo");
  for (const value of [
    "",
    "5 0",
    "0 0",
    "0 11",
    "0 -5",
    "+0",
    "0x0",
    "0,5",
    "0 99999999999999999999999",
    "1",
    "0 10",
  ]) {
    assert.throws(() => readMultipart(value, body, true), { code: 400, reason: "bad-multipart" }, value);
  }
  for (const text of ["a:b\r\n", "", "\r", "a\r\n\r\n", ":b\r\n\r\n"]) {
    assert.throws(() => readMultipart("0", encodeText(text), true), { reason: "bad-multipart" }, JSON.stringify(text));
  }
  assert.throws(() => multipart([]), { reason: "bad-multipart" });
  assert.throws(() => multipart([{ headers: { a: "b\r\nc:d" } }]), { reason: "bad-header" });
  assert.deepEqual(decodeMessage("LHTTP/1.0 c\r\n\r\nbody").parts(), []);
});

test("parts that were joined are found again", () => {
  forAll(1_000, (random) => {
    const text = () => random.list(9, () => random.pick(["a", "\r\n", ":", "ü", "☂", "😀"])).join("");
    const given = [undefined, ...random.list(3, () => undefined)].map(() => ({
      headers: random.list(2, () => [random.pick(["a", "b"]), random.pick(["", "x:y", "ü z"])]),
      body: random.below(4) === 0 ? encodeText(text()) : text(),
    }));
    const parts = decodeMessage(encodeMessage("c", [], multipart(given))).parts();
    const plain = (part) => [part.headers, typeof part.body === "string" ? encodeText(part.body) : part.body];
    assert.deepEqual(parts.map(plain), given.map(plain));
  });
});
