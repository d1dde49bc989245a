// Channels and patterns (PROTOCOL.md §2): their syntax, and the matching of a pattern with a channel.

import { LhttpError } from "./error.js";
import { utf8Length } from "./text.js";

/** The longest channel or pattern, in bytes of UTF-8. */
const CHANNEL_BYTES_MAX = 255;
/** The most characters of a refused name that its error sentence shows. */
const SHOWN_CHARACTERS_MAX = 64;

/**
 * Refuses a name that cannot be published to.
 * @param {string} name
 */
export function checkPublish(name) {
  const flaw = flawOf(name) ?? (isPattern(name) ? "has a wildcard: patterns are for subscribing only" : undefined);
  if (flaw) throw refusal(name, flaw);
}

/**
 * Refuses a name that cannot be subscribed to.
 * @param {string} name
 */
export function checkSubscribe(name) {
  const flaw = flawOf(name) ?? (hasTailInside(name) ? 'has a ">" that is not its last token' : undefined);
  if (flaw) throw refusal(name, flaw);
}

/**
 * Whether a whole token of `name` is a wildcard.
 * @param {string} name
 */
export function isPattern(name) {
  return name.split(".").some((token) => token === "*" || token === ">");
}

/**
 * Whether `pattern` matches `channel`, both split into tokens. A pattern without wildcards matches only itself.
 * @param {readonly string[]} pattern
 * @param {readonly string[]} channel
 */
export function matches(pattern, channel) {
  for (let at = 0; at < pattern.length; at += 1) {
    if (at >= channel.length) return false;
    if (pattern[at] === ">" && at === pattern.length - 1) return true;
    if (pattern[at] !== "*" && pattern[at] !== channel[at]) return false;
  }
  return pattern.length === channel.length;
}

/**
 * The names in the value of a `subscribe`, `publish` or `unsubscribe` header.
 * @param {string} value
 */
export function splitNames(value) {
  return value.split(/[ \t]+/).filter((name) => name !== "");
}

/**
 * @param {string} name
 * @returns {string | undefined}
 */
function flawOf(name) {
  if (typeof name !== "string") return "is not a string";
  if (name === "") return "is empty";
  const length = utf8Length(name);
  if (length > CHANNEL_BYTES_MAX) return `has ${length} bytes, more than ${CHANNEL_BYTES_MAX}`;
  if (name.includes(" ")) return "has a space";
  // eslint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(name)) return "has a control character";
  if (name.split(".").includes("")) return "has an empty token";
  return undefined;
}

/** @param {string} name */
function hasTailInside(name) {
  return name.split(".").slice(0, -1).includes(">");
}

/**
 * @param {string} name
 * @param {string} flaw
 */
function refusal(name, flaw) {
  const shown = [...String(name)];
  const text = shown.length > SHOWN_CHARACTERS_MAX ? `${shown.slice(0, SHOWN_CHARACTERS_MAX).join("")}…` : String(name);
  return new LhttpError(400, "bad-channel", `channel ${JSON.stringify(text)} ${flaw}`);
}
