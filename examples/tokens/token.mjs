// Makes a token for lhttpd with nothing but Node. Copy makeToken into your program.
//
//     openssl rand -hex 32 > secret && chmod 600 secret
//     lhttpd --token-key secret &
//     node token.mjs secret mike 'room.*'

import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { argv, exit } from "node:process";
import { pathToFileURL } from "node:url";

/**
 * A token for `user`, which is valid for so many seconds. `more` are other claims, for example iss or aud.
 * @param {Buffer} secret
 * @param {string} user
 */
export function makeToken(secret, user, { subscribe = [], publish = [], seconds = 3600, more = {} } = {}) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = { alg: "HS256", typ: "JWT" };
  const claims = {
    sub: user,
    exp: Math.floor(Date.now() / 1000) + seconds,
    "lhttp.subscribe": subscribe,
    "lhttp.publish": publish,
    ...more,
  };
  const signed = `${encode(head)}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  const [file, user, ...channels] = argv.slice(2);
  if (user === undefined) {
    console.error("usage: token.mjs SECRET-FILE USER [CHANNEL...]");
    exit(1);
  }
  let secret = readFileSync(file);
  // As lhttpd does, without the line break at the end.
  if (secret.at(-1) === 10) secret = secret.subarray(0, -1);
  console.log(makeToken(secret, user, { subscribe: channels, publish: channels }));
}
