// Tokens as a program would have them.

import { createHmac } from "node:crypto";

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/**
 * A JWT, signed with HMAC SHA-256.
 * @param {Record<string, unknown>} claims
 * @param {string} [secret]
 */
export function makeToken(claims, secret = "a secret of a server, 32 bytes +") {
  const content = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

/**
 * A token of this user that runs out after so many seconds.
 * @param {string} sub
 * @param {number} seconds
 */
export function tokenFor(sub, seconds) {
  return makeToken({ sub, exp: Math.floor(Date.now() / 1_000) + seconds });
}
