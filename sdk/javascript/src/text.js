// Strings and bytes: LHTTP counts in UTF-8, JavaScript in UTF-16.

import { decodeUtf8, encodeUtf8 } from "./utf8.js";

/** Made when first needed: a test's environment may get them after this module. @type {TextEncoder | undefined} */
let encoder;
/** @type {TextDecoder | undefined} */
let decoder;

/**
 * The UTF-8 bytes of `text`; half a surrogate pair becomes U+FFFD, as it does when a WebSocket sends it.
 * @param {string} text
 */
export function encodeText(text) {
  if (typeof TextEncoder !== "function") return encodeUtf8(text);
  encoder ??= new TextEncoder();
  return encoder.encode(text);
}

/**
 * The text of UTF-8 bytes. Invalid UTF-8 becomes U+FFFD, and a byte order mark stays.
 * @param {Uint8Array} bytes
 */
export function decodeText(bytes) {
  if (typeof TextDecoder !== "function") return decodeUtf8(bytes);
  decoder ??= new TextDecoder("utf-8", { ignoreBOM: true });
  return decoder.decode(bytes);
}

/**
 * How many bytes `text` has in UTF-8.
 * @param {string} text
 */
export function utf8Length(text) {
  let length = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      length += 1;
    } else if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(at + 1))) {
      // A pair: four bytes for two units.
      length += 2;
      at += 1;
    } else {
      length += 2;
    }
  }
  return length;
}

/**
 * How many bytes `data` has on the wire.
 * @param {string | Uint8Array} data
 */
export function byteLength(data) {
  return typeof data === "string" ? utf8Length(data) : data.length;
}

/** @param {number} unit */
function isLowSurrogate(unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

/**
 * `body` as bytes, if it is something that holds bytes.
 * @param {unknown} body
 * @returns {Uint8Array | undefined}
 */
export function asBytes(body) {
  if (body instanceof Uint8Array) return body;
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  // Not instanceof: a page's frames and a vm's contexts each have their own ArrayBuffer.
  if (Object.prototype.toString.call(body) === "[object ArrayBuffer]") {
    return new Uint8Array(/** @type {ArrayBuffer} */ (body));
  }
  return undefined;
}

/**
 * @param {...Uint8Array} pieces
 * @returns {Uint8Array}
 */
export function joinBytes(...pieces) {
  const joined = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
