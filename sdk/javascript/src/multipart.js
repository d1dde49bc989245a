// Multipart bodies (PROTOCOL.md §4): parts cut at byte offsets. Only this module computes the offsets.

import { LhttpError } from "./error.js";
import { findHeader, headerLines, headerPairs, readHeaders } from "./headers.js";
import { asBytes, decodeText, encodeText, joinBytes, utf8Length } from "./text.js";

const CR = 13;
const LF = 10;

/** A body of several parts, to be published or sent. The client adds the `multipart` header. */
export class Multipart {
  /**
   * @param {string} offsets
   * @param {string | Uint8Array} body
   */
  constructor(offsets, body) {
    /** The value of the `multipart` header. */
    this.offsets = offsets;
    this.body = body;
  }
}

/**
 * Joins parts. The body is text if each part's is, otherwise bytes.
 * @param {Iterable<import("../index.d.ts").PartInit>} parts
 */
export function multipart(parts) {
  /** @type {{ head: string, body: string | Uint8Array }[]} */
  const pieces = [];
  for (const { headers, body = "" } of parts) {
    const content = typeof body === "string" ? body : asBytes(body);
    if (content === undefined) throw bad("a part's body is a string or bytes");
    pieces.push({ head: `${headerLines(headerPairs(headers))}\r\n`, body: content });
  }
  if (pieces.length === 0) throw bad("there is no part");
  const offsets = [];
  let at = 0;
  for (const { head, body } of pieces) {
    offsets.push(at);
    at += utf8Length(head) + (typeof body === "string" ? utf8Length(body) : body.length);
  }
  return new Multipart(offsets.join(" "), joinPieces(pieces));
}

/** @param {{ head: string, body: string | Uint8Array }[]} pieces */
function joinPieces(pieces) {
  if (pieces.every(({ body }) => typeof body === "string")) {
    // Piece by piece: half a surrogate pair at an end must not meet its other half, because the offsets count the two
    // separately.
    const texts = pieces.map(({ head, body }) => head + wellFormed(/** @type {string} */ (body)));
    return texts.join("");
  }
  return joinBytes(
    ...pieces.flatMap(({ head, body }) => [encodeText(head), typeof body === "string" ? encodeText(body) : body]),
  );
}

/** @param {string} text */
function wellFormed(text) {
  return decodeText(encodeText(text));
}

/** One part of a received message. */
export class Part {
  /**
   * @param {import("./headers.js").Header[]} headers
   * @param {Uint8Array} bytes
   * @param {boolean} isText
   */
  constructor(headers, bytes, isText) {
    this.headers = headers;
    this.body = isText ? decodeText(bytes) : bytes;
  }

  /**
   * The first header of this name, in any case.
   * @param {string} name
   */
  header(name) {
    return findHeader(this.headers, name);
  }

  /** The body as text. */
  text() {
    return typeof this.body === "string" ? this.body : decodeText(this.body);
  }

  /** The body as bytes. */
  bytes() {
    return typeof this.body === "string" ? encodeText(this.body) : this.body;
  }
}

/**
 * The parts of `bytes`, cut at the offsets in a `multipart` header's value.
 * @param {string} offsets
 * @param {Uint8Array} bytes
 * @param {boolean} isText Whether the parts' bodies are returned as text.
 * @throws {LhttpError} `bad-multipart`
 */
export function readMultipart(offsets, bytes, isText) {
  const starts = offsets.split(/[ \t]+/).filter((word) => word !== "");
  if (starts.length === 0) throw bad("there is no offset");
  const numbers = starts.map((word, index) => {
    const number = /^[0-9]+$/.test(word) ? Number(word) : NaN;
    if (Number.isNaN(number)) throw bad("an offset is not a decimal number");
    if (number > bytes.length) throw bad("an offset is beyond the body");
    if (index > 0 && number <= Number(starts[index - 1])) throw bad("the offsets do not ascend");
    return number;
  });
  return numbers.map((start, index) => readPart(bytes.subarray(start, numbers[index + 1] ?? bytes.length), isText));
}

/**
 * @param {Uint8Array} bytes
 * @param {boolean} isText
 */
function readPart(bytes, isText) {
  const lines = [];
  let start = 0;
  for (;;) {
    const end = lineEnd(bytes, start);
    if (end < 0) throw bad("a part has no empty line");
    if (end === start) break;
    const line = decodeText(bytes.subarray(start, end));
    if (line.indexOf(":") < 1) throw bad("a part's header line has no name and colon");
    lines.push(line);
    start = end + 2;
  }
  return new Part(readHeaders(lines), bytes.subarray(start + 2), isText);
}

/**
 * The place of the next CR LF, or -1.
 * @param {Uint8Array} bytes
 * @param {number} start
 */
function lineEnd(bytes, start) {
  let at = bytes.indexOf(CR, start);
  while (at >= 0 && bytes[at + 1] !== LF) at = bytes.indexOf(CR, at + 1);
  return at;
}

/** @param {string} sentence */
function bad(sentence) {
  return new LhttpError(400, "bad-multipart", sentence);
}
