// The contents of a classic script: the old API as the global `Lhttp`, and the new one as properties of it.

import { Client, connect } from "./client.js";
import { LhttpError } from "./error.js";
import { Context, HEADER_KEY_PUBLISH, HEADER_KEY_SUBSCRIBE, Lhttp, OldMessage, PROTOCOL_AND_VER } from "./legacy.js";
import { Message, Reply } from "./message.js";
import { Multipart, Part, multipart } from "./multipart.js";
import { Room } from "./room.js";

/** @param {any} target */
export function install(target) {
  Object.assign(Lhttp, { connect, multipart, Client, LhttpError, Message, Multipart, Part, Reply, Room });
  target.Lhttp = Lhttp;
  // The old script had these globals too. A page with its own globals of these names keeps them.
  const globals = { Context, Message: OldMessage, PROTOCOL_AND_VER, HEADER_KEY_PUBLISH, HEADER_KEY_SUBSCRIBE };
  for (const [name, value] of Object.entries(globals)) {
    if (!(name in target)) target[name] = value;
  }
}
