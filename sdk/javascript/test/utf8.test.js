// Our own UTF-8 against the platform's.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeUtf8, encodeUtf8 } from "../src/utf8.js";
import { forAll } from "./support/random.js";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

test("text is encoded like TextEncoder does, halves of surrogate pairs included", () => {
  const units = [0, 0x41, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xe000, 0xfeff, 0xffff];
  forAll(2_000, (random) => {
    const text = String.fromCharCode(...random.list(12, () => random.pick(units)));
    assert.deepEqual(encodeUtf8(text), encoder.encode(text), JSON.stringify(text));
  });
});

test("any bytes are decoded like TextDecoder does", () => {
  const edges = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed];
  const bytes = [...edges, 0xee, 0xef, 0xbb, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xfe, 0xff];
  forAll(20_000, (random) => {
    const some = Uint8Array.from(random.list(8, () => random.pick(bytes)));
    assert.equal(decodeUtf8(some), decoder.decode(some), `${some}`);
  });
});

test("a text longer than an engine's limit of arguments is decoded, too", () => {
  const text = "a€😀".repeat(100_000);
  assert.ok(decodeUtf8(encodeUtf8(text)) === text);
});
