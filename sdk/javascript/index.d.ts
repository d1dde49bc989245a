/** The body of a message: a string is sent as a text frame, bytes as a binary one. */
export type Body = string | Uint8Array | ArrayBuffer | ArrayBufferView | Multipart;

/**
 * Headers as an object, a list of pairs, a `Map` or a `Headers`. In an object a list repeats the header, and `undefined`
 * leaves it out.
 */
export type HeadersInit =
  | Record<string, string | number | boolean | undefined | readonly (string | number | boolean)[]>
  | Iterable<readonly [string, string | number | boolean]>;

/** What happens to a message without a connection: it waits in the queue, or fails with `offline`. */
export type Offline = "queue" | "fail";

/** Where to connect; a function is called before each attempt. */
export type UrlInit = string | URL | (() => string | URL | Promise<string | URL>);

/** Why the client asks for a token. */
export interface TokenRequest {
  /**
   * - `connect`: for an attempt to connect.
   * - `renewal`: the token of the running connection runs out soon, or `renewToken()` was called.
   * - `refused`: the server has refused the last one, or may have: a browser does not tell a refused token from a server
   *   that cannot be reached. Do not return a token that you kept.
   */
  reason: "connect" | "renewal" | "refused";
}

export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateChange {
  /**
   * - `connecting`: connecting, or renewing the subscriptions.
   * - `open`: connected, and every subscription is live.
   * - `waiting`: not connected; the next attempt comes in `retryIn` milliseconds.
   * - `closed`: for good, by `close()`, or by a loss when `reconnect` is false.
   */
  state: State;
  /** With `waiting`: milliseconds to the next attempt. */
  retryIn?: number;
  /** With `waiting`: the number of attempts since the connection was last stable. */
  attempt?: number;
  /**
   * The reason, with `waiting` and with a `closed` that the program did not request. Its code is 401 or 403 if the server
   * refused the handshake and the WebSocket tells (the package `ws` does, browsers and Node's own do not), otherwise 0.
   */
  error?: LhttpError;
  /** The close code of the WebSocket, if it was closed with one (1006 means that the connection broke). */
  closeCode?: number;
}

/**
 * All times are in milliseconds. A time limit for the server counts only the time in which the program's event loop
 * ran: what arrived while the loop stood still is read first.
 */
export interface ConnectOptions {
  /** The WebSocket class, if there is no global one (Node before 22), for example that of the package `ws`. */
  WebSocket?: unknown;
  /** Subprotocols to offer; lhttpd accepts `lhttp`. Default: none. */
  protocols?: string | string[];
  /**
   * Returns the token (a JWT) with which the client connects, or undefined for none. The client calls it before each
   * attempt to connect, and again before the token runs out: after 75 to 90 % of the time that it has left, and 10
   * seconds at the earliest. It also calls it when the server answers 401. The function has the time of
   * `connectTimeout`. If it throws or rejects, the attempt has failed, or the running connection keeps its token; the
   * client asks again later, with the waits of `backoff`. Default: no tokens.
   */
  token?: (request: TokenRequest) => string | undefined | null | Promise<string | undefined | null>;
  /** Whether the client reconnects. Default: true. */
  reconnect?: boolean;
  /**
   * Whether the client asks for the messages that it has missed when it comes back, on channels whose history the server
   * keeps. Each comes once, in order, before new ones; where some are not kept any more, the room has a `gap` event.
   * Patterns have no history. Default: true.
   */
  resume?: boolean;
  /** The n-th wait is random between 0 and `initial * 2^n`, at most `max`. Default: 500 and 30 000. */
  backoff?: { initial?: number; max?: number };
  /** How long an attempt to connect may take. Default: 10 000. */
  connectTimeout?: number;
  /**
   * How long `close()` waits for the server to close the connection too. Then it ends the connection alone, if the
   * WebSocket can (Node's own, `ws`); a browser does that itself. A Node process may end before. Default: 3 000.
   */
  closeTimeout?: number;
  /** How long the server's acknowledgement may take, from sending. Default: 10 000. */
  ackTimeout?: number;
  /** How long an upstream's reply may take, from sending. Default: 60 000. */
  requestTimeout?: number;
  /**
   * If nothing was received for `interval`, the client sends a heartbeat. If no answer comes within `timeout`, the
   * connection counts as lost. An interval of 0 disables heartbeats. Default: 25 000 and 10 000.
   */
  heartbeat?: { interval?: number; timeout?: number };
  /** Default: `queue`. */
  offline?: Offline;
  /** The limits of the queue; past either `publish` fails with `queue-full`. Default: 1 000 messages, 1 MiB. */
  queue?: { messagesMax?: number; bytesMax?: number };
  /**
   * How often a message with `retry` is sent again. If it is lost once more, it is rejected with `connection-lost`: it
   * may be the cause of the losses. Default: 10.
   */
  retriesMax?: number;
  /** How many messages may be in flight; past it further ones wait in the queue. Default: 10 000. */
  unackedMax?: number;
  /**
   * The largest message; a larger one is refused with `message-too-big`. It should equal the server's `--max-message`:
   * past that the server closes the connection with 1009. If the close names a smaller limit, that limit replaces this
   * one. Default: 64 KiB.
   */
  messageBytesMax?: number;
  /**
   * How many bytes may be in the WebSocket's send buffer, and how many bytes of messages with `retry` may wait for
   * their answers. Past either, messages wait in the queue. Default: 4 MiB.
   */
  bufferedBytesMax?: number;
  /** The random numbers of the back-off, from 0 up to 1. If it throws or returns no such number, the client uses its own. Default: `Math.random`. */
  random?: () => number;
}

export interface OperationOptions {
  /** Gives up waiting; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /**
   * How long it may take in all, waiting for a connection included, at most 2^31 - 1 milliseconds. Then it is rejected
   * with `timeout`, unless the answer has arrived while the event loop stood still. Default: no limit of its own.
   */
  timeout?: number;
}

export interface SubscribeOptions extends OperationOptions {
  /** The command of the message that subscribes, on each connection. Default: `chat`. */
  command?: string;
  /** Headers of that message. The first subscription to a name decides both; later ones share them. */
  headers?: HeadersInit | null;
  /**
   * How many of the channel's newest messages come first, from 1 to 1 000, if the server keeps so many. The handler gets
   * them before `subscribe` resolves. They come again after a `gap` event. Patterns have no history. Default: none.
   */
  last?: number;
  /**
   * What others see beside your user in the list of who is there, at most 256 bytes of UTF-8 without control characters,
   * unless your token has its own. The client sends it on each connection. All rooms of a name share it: a later one
   * replaces it, and so does `room.setInfo`. Default: nothing.
   */
  info?: string;
}

/** A user who is in a channel. */
export interface PresentUser {
  /** The user of the token; without a token `~` and 12 letters and digits, another one for each connection. */
  readonly user: string;
  /** How many connections of the user were there when the server told of the user. */
  readonly connections: number;
  /** Since when, in seconds since 1970. */
  readonly since: number;
  /** What the user shows: the `info` of the token (any JSON), or else the text of the option `info`. */
  readonly info?: any;
}

/** Who is in a channel. */
export interface Present {
  /** Sorted by `user`. */
  readonly users: PresentUser[];
  /** How many others there are: the server sends no longer lists, and does not name all changes of a large room. */
  readonly more: number;
  /** How many users there are, known or not. */
  readonly total: number;
  /**
   * Whether `users` are exactly those who are there. If it is false, some are missing, and after changes that were not
   * named some may have gone. The list of a room's listeners becomes complete again after 5 to 10 s, unless the server cuts it.
   */
  readonly isComplete: boolean;
}

export interface PresenceOptions extends OperationOptions {
  /** Overrides the client's setting. */
  offline?: Offline;
  /** Whether it is asked again if the connection is lost before the answer. Default: false, as for a message. */
  retry?: boolean;
}

/** Messages that this room has missed are not kept any more. */
export interface Gap {
  channel: string;
}

/** The ids of a published message. */
export interface Published {
  /** Its number in the first channel; undefined without a history there, and with `ack: false`. It is opaque. */
  readonly id: string | undefined;
  /** Its numbers in all channels, in the order of the call. */
  readonly ids: readonly (string | undefined)[];
}

export interface SendOptions extends OperationOptions {
  /** Default: `chat`. */
  command?: string;
  headers?: HeadersInit | null;
  /** Overrides the client's setting. */
  offline?: Offline;
  /**
   * Whether the message is sent again if the connection is lost before the answer, up to `retriesMax` times; the server
   * may then get it twice. A message that makes the server close the connection with 1009 is not sent again: it is
   * rejected with `message-too-big`. Default: false. The message is then rejected with `connection-lost`, and the
   * server may have it or not.
   */
  retry?: boolean;
}

export interface PublishOptions extends SendOptions {
  /**
   * This client does not receive the message, even if it is subscribed. A handler that begins with the `last` ones gets
   * it; so does a client that comes back, if it was lost before the message was confirmed.
   */
  noEcho?: boolean;
  /** False: do not ask for an acknowledgement; resolve once the WebSocket has the message. Default: true. */
  ack?: boolean;
}

export interface RequestOptions extends SendOptions {
  body?: Body;
}

/**
 * Connects, and stays connected until `close()`. Throws only if the URL or an option is invalid, or if the WebSocket
 * class throws, as a browser's does for `ws:` in a page of `https:`. On a reconnect, and with a function as `url` or
 * with `token`, that counts as a failed attempt, and the next one follows.
 */
export function connect(url: UrlInit, options?: ConnectOptions): Client;

export class Client {
  private constructor();
  readonly state: State;
  /** When the next attempt starts while `waiting`, in milliseconds since 1970. */
  readonly retryAt: number | undefined;
  /** The queued messages and their bytes. */
  readonly queued: { messages: number; bytes: number };

  /** Calls `listener` with each change of state, until the function that it returns is called. */
  on(event: "state", listener: (change: StateChange) => void): () => void;
  /** Calls `listener` with each copy of each message, with or without handlers. */
  on(event: "message", listener: (message: Message) => void): () => void;
  /**
   * Calls `listener` with errors that no promise reports: an error from the server for a message without `ack` or for a
   * subscription that it now refuses or ends, a token that has run out (401 `token-expired`) or could not be renewed, and
   * an error that a handler threw.
   */
  on(event: "error", listener: (error: LhttpError | Error) => void): () => void;

  /** Resolves when there is a connection and every subscription is live on it; at once if that is so now. */
  ready(options?: OperationOptions): Promise<void>;

  /**
   * Calls `handler` with each message of a channel, or of all channels that a pattern matches. Resolves when the server
   * has confirmed the subscription; without a connection it waits for one. Rejects with the server's `LhttpError`.
   * Iterate over a room without a handler: `for await (const message of room)`.
   */
  subscribe(name: string, handler?: (message: Message) => unknown, options?: SubscribeOptions): Promise<Room>;

  /** Publishes to one channel or several. Resolves when the server has confirmed it, and keeps it where it has a history. */
  publish(channels: string | readonly string[], body?: Body, options?: PublishOptions): Promise<Published>;

  /**
   * Lets the server send an HTTP request, for example `POST http://host/path`, and returns the answer. With any method
   * but GET and HEAD the body is the whole LHTTP message.
   */
  request(upstream: string, options?: RequestOptions): Promise<Reply>;

  /**
   * Asks who is in a channel, without being in it. Rejects with 404 `no-presence` if the server does not count that, with
   * 403 `forbidden` if you may not subscribe to the channel, and with 400 `bad-channel` for a pattern.
   */
  presence(channel: string, options?: PresenceOptions): Promise<Present>;

  /** Sends a message without waiting for an answer. Throws if it can be neither sent nor queued. */
  send(command: string, headers?: HeadersInit | null, body?: Body): void;

  /**
   * Asks for a token and gives it to the server, for example because the user may do more now; without a connection it
   * waits for one. Resolves when the server has accepted the token. It must name the same user. Rejects with 401
   * `unauthorized`, or with `no-token` if the function `token` fails.
   */
  renewToken(options?: OperationOptions): Promise<void>;

  /** Ends everything. Messages that are not sent or not answered are rejected with `closed`. */
  close(): void;
}

/** The result of one call of `subscribe`. */
export class Room {
  private constructor();
  /** The channel or pattern. */
  readonly name: string;
  /** Whether the server has confirmed it on the current connection. */
  readonly isLive: boolean;
  /**
   * Calls `listener` when messages are missing: while the client was away more were published than the server keeps, or
   * the server has forgotten them, as after a restart. What comes next is newer. Returns a function that removes it.
   */
  on(event: "gap", listener: (gap: Gap) => void): () => void;
  /**
   * Calls `listener` with who is in the channel: soon after it is added, after each change, and after a reconnect. The
   * server tells changes if the channel's rule says `presence = "events"`. Patterns have no presence: 400 `bad-channel`.
   */
  on(event: "presence", listener: (present: Present) => void): () => void;
  /**
   * Calls `listener` with each user who comes from then on, also while the client was away, but not with those who were
   * there before. Where the list leaves users out, one of them may come as `join`, and none after a reconnect. Of many who
   * come at once the server names some: the others come as `join` later, or not at all where it cuts the list.
   */
  on(event: "join", listener: (user: PresentUser) => void): () => void;
  /** The same for each user who goes, with what was known of the user. */
  on(event: "leave", listener: (user: Pick<PresentUser, "user"> & Partial<PresentUser>) => void): () => void;
  /** Asks who is in this channel. */
  presence(options?: PresenceOptions): Promise<Present>;
  /**
   * Changes what others see beside your user: the option `info`. Resolves when the server has it, or when the connection
   * is lost: the client sends it again on the next one.
   */
  setInfo(info: string, options?: OperationOptions): Promise<void>;
  /** Publishes to this channel. */
  publish(body: Body, options?: PublishOptions): Promise<Published>;
  /** Ends this handler: it is not called again. */
  unsubscribe(options?: OperationOptions): Promise<void>;
  /**
   * The messages from the subscription on; leaving the loop unsubscribes. At most 1 000 wait to be read; past that the
   * loop ends with `queue-full`.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined>;
}

/** A received message. */
export class Message {
  protected constructor();
  readonly command: string;
  /** In the order of the message, names as written, values trimmed. */
  readonly headers: [name: string, value: string][];
  /** A string if the message came as text, otherwise bytes. */
  readonly body: string | Uint8Array;
  /** The channel of this copy; undefined if the message is not a publish, or matches no subscription of this client. */
  readonly channel: string | undefined;
  /** All channels that the message was published to. */
  readonly channels: string[];
  /** The first header of this name, in any case. */
  header(name: string): string | undefined;
  text(): string;
  bytes(): Uint8Array;
  json(): any;
  /** The parts of a multipart body; none if there is no `multipart` header. Throws `bad-multipart`. */
  parts(): Part[];
}

/** An answer to `request`. */
export class Reply extends Message {
  private constructor();
  /** The HTTP status. */
  readonly status: number;
  /** Whether the status is a success. */
  readonly ok: boolean;
}

export interface PartInit {
  headers?: HeadersInit | null;
  body?: string | Uint8Array | ArrayBuffer | ArrayBufferView;
}

/** Joins parts into a body. The client adds the `multipart` header with their offsets. */
export function multipart(parts: Iterable<PartInit>): Multipart;

export class Multipart {
  private constructor();
  /** The value of the `multipart` header. */
  readonly offsets: string;
  readonly body: string | Uint8Array;
}

/** One part of a received message. */
export class Part {
  private constructor();
  readonly headers: [name: string, value: string][];
  /** A string if the message came as text, otherwise bytes. */
  readonly body: string | Uint8Array;
  header(name: string): string | undefined;
  text(): string;
  bytes(): Uint8Array;
}

/**
 * An operation that failed. `code` is the server's (PROTOCOL.md §6), or the code that it would have sent, or 0 with one
 * of these reasons: `offline`, `queue-full`, `connection-lost`, `no-token`, `timeout`, `closed`.
 */
export class LhttpError extends Error {
  constructor(code: number, reason: string, message: string, options?: ErrorOptions);
  readonly code: number;
  /** One fixed word for programs. */
  readonly reason: string;
}
