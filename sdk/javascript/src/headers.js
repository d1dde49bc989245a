// Header lines, of messages and of their parts (PROTOCOL.md §1 and §4).

import { LhttpError } from "./error.js";

/** @typedef {[name: string, value: string]} Header */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/**
 * Converts a caller's headers to pairs of strings. Refuses invalid headers, above all a CR or LF in a value, which
 * would start another line.
 * @param {import("../index.d.ts").HeadersInit | null | undefined} headers
 * @returns {Header[]}
 */
export function headerPairs(headers) {
  if (headers === undefined || headers === null) return [];
  const iterable = Symbol.iterator in headers;
  /** @type {Iterable<readonly [string, unknown]>} */
  const given = iterable
    ? /** @type {Iterable<readonly [string, string]>} */ (headers)
    : Object.entries(/** @type {object} */ (headers));
  /** @type {Header[]} */
  const pairs = [];
  for (const [name, value] of given) {
    // A list repeats the header; undefined leaves it out, which spares callers a condition.
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) pairs.push(headerPair(name, one));
    }
  }
  return pairs;
}

/**
 * A caller's headers. Refuses those that the client sets itself.
 * @param {import("../index.d.ts").HeadersInit | null | undefined} headers
 * @param {readonly string[]} taken
 */
export function callersHeaders(headers, taken) {
  const pairs = headerPairs(headers);
  for (const [name] of pairs) {
    if (taken.includes(name.toLowerCase())) {
      throw new LhttpError(400, "bad-header", `the client sets the header "${name}" itself`);
    }
  }
  return pairs;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {Header}
 */
export function headerPair(name, value) {
  if (typeof name !== "string" || !TOKEN.test(name)) {
    throw new LhttpError(400, "bad-header", `a header's name is 1 to 64 token characters, not ${JSON.stringify(name)}`);
  }
  const text = String(value);
  if (CONTROL.test(text)) {
    throw new LhttpError(400, "bad-header", `the value of header "${name}" has a control character`);
  }
  return [name, text];
}

/** @param {readonly Header[]} headers */
export function headerLines(headers) {
  return headers.map(([name, value]) => `${name}:${value}\r\n`).join("");
}

/**
 * The headers in these lines, values trimmed. A line without a colon is left out: the server never forwards one.
 * @param {readonly string[]} lines
 * @returns {Header[]}
 */
export function readHeaders(lines) {
  /** @type {Header[]} */
  const headers = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.push([line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "")]);
  }
  return headers;
}

/**
 * The first header of this name, in any case.
 * @param {readonly Header[]} headers
 * @param {string} name
 */
export function findHeader(headers, name) {
  const wanted = name.toLowerCase();
  return headers.find(([other]) => other.toLowerCase() === wanted)?.[1];
}
