export { connect, Client, Reply } from "./client.js";
export { LhttpError } from "./error.js";
export { Message } from "./message.js";
export { Multipart, multipart, Part } from "./multipart.js";
export { Room } from "./room.js";
