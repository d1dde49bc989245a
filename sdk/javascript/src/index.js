export { connect, Client } from "./client.js";
export { LhttpError } from "./error.js";
export { Message, Reply } from "./message.js";
export { Multipart, multipart, Part } from "./multipart.js";
export { Room } from "./room.js";
