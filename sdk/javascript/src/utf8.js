// UTF-8 for environments without TextEncoder or TextDecoder (jsdom under Jest, old React Native), with the same
// results.

const REPLACEMENT = 0xfffd;

/** The number of code units for one call of `String.fromCharCode`: engines bound the number of arguments. */
const UNITS_AT_ONCE = 8192;

/**
 * @param {string} text
 * @returns {Uint8Array}
 */
export function encodeUtf8(text) {
  // A code unit takes at most three bytes, a pair of them four.
  const bytes = new Uint8Array(text.length * 3);
  let length = 0;
  for (const character of text) {
    let code = /** @type {number} */ (character.codePointAt(0));
    if (code >= 0xd800 && code < 0xe000) code = REPLACEMENT;
    if (code < 0x80) {
      bytes[length++] = code;
      continue;
    }
    const trail = code < 0x800 ? 1 : code < 0x1_0000 ? 2 : 3;
    bytes[length++] = [0, 0xc0, 0xe0, 0xf0][trail] | (code >> (6 * trail));
    for (let left = trail - 1; left >= 0; left -= 1) bytes[length++] = 0x80 | ((code >> (6 * left)) & 0x3f);
  }
  return bytes.slice(0, length);
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function decodeUtf8(bytes) {
  let text = "";
  /** @type {number[]} */
  let units = [];
  for (let at = 0; at < bytes.length;) {
    const { code, length } = readCharacter(bytes, at);
    at += length;
    if (code < 0x1_0000) units.push(code);
    else units.push(0xd800 + ((code - 0x1_0000) >> 10), 0xdc00 + ((code - 0x1_0000) & 0x3ff));
    if (units.length >= UNITS_AT_ONCE) {
      text += String.fromCharCode(...units);
      units = [];
    }
  }
  return text + String.fromCharCode(...units);
}

/**
 * The character at `at`. Invalid UTF-8 becomes one replacement character for each longest start of a sequence (the
 * Encoding Standard's "maximal subpart").
 * @param {Uint8Array} bytes
 * @param {number} at
 */
function readCharacter(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return { code: first, length: 1 };
  const trail =
    first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
  let code = first & (0x3f >> trail);
  for (let index = 1; index <= trail; index += 1) {
    const byte = bytes[at + index];
    const [least, most] = index === 1 ? secondByte(first) : [0x80, 0xbf];
    if (!(byte >= least && byte <= most)) return { code: REPLACEMENT, length: index };
    code = (code << 6) | (byte & 0x3f);
  }
  return trail === 0 ? { code: REPLACEMENT, length: 1 } : { code, length: trail + 1 };
}

/**
 * The bytes that may follow this byte: no longer form than needed, no surrogate, nothing past U+10FFFF.
 * @param {number} first
 */
function secondByte(first) {
  if (first === 0xe0) return [0xa0, 0xbf];
  if (first === 0xed) return [0x80, 0x9f];
  if (first === 0xf0) return [0x90, 0xbf];
  if (first === 0xf4) return [0x80, 0x8f];
  return [0x80, 0xbf];
}
