/** What the body of a message is given as: a string goes as a text frame, bytes as a binary one. */
export type Body = string | Uint8Array | ArrayBuffer | ArrayBufferView | Multipart;

/** Headers as an object, a list of pairs, a `Map` or a `Headers`. In an object a list repeats the header, and
 * `undefined` leaves it out. */
export type HeadersInit =
  | Record<string, string | number | boolean | undefined | readonly (string | number | boolean)[]>
  | Iterable<readonly [string, string | number | boolean]>;

/** What happens to that which is sent while there is no connection: it waits in the queue, or fails with `offline`. */
export type Offline = "queue" | "fail";

export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateChange {
  /**
   * - `connecting`: a connection is being made, or its subscriptions are being made again.
   * - `open`: connected, and every subscription is live.
   * - `waiting`: not connected; the next try comes in `retryIn` milliseconds.
   * - `closed`: for good, by `close()`, or by a loss when `reconnect` is false.
   */
  state: State;
  /** With `waiting`: milliseconds to the next try. */
  retryIn?: number;
  /** With `waiting`: how many tries there were since the connection was last stable. */
  attempt?: number;
  /** With `waiting`, and with a `closed` that was not asked for: why. */
  error?: LhttpError;
  /** The close code of the WebSocket, if it was closed with one (1006 is a connection that broke). */
  closeCode?: number;
}

/**
 * All times are in milliseconds. Of what a server must do in time, only the time counts in which the program's event loop
 * ran: what arrived while it stood still is read first.
 */
export interface ConnectOptions {
  /** The WebSocket class, where there is no global one (Node before 22): for example that of the package `ws`. */
  WebSocket?: unknown;
  /** Subprotocols to offer; lhttpd takes `lhttp`. Default: none. */
  protocols?: string | string[];
  /** Whether a lost connection is made again. Default: true. */
  reconnect?: boolean;
  /** The n-th wait is random between 0 and `initial * 2^n`, at most `max`. Default: 500 and 30 000. */
  backoff?: { initial?: number; max?: number };
  /** How long making a connection may take. Default: 10 000. */
  connectTimeout?: number;
  /**
   * How long `close()` waits for the server to close the connection too, before it ends without that: where the WebSocket
   * can (Node's own, `ws`), for a browser sees to it itself. A Node process may end before. Default: 3 000.
   */
  closeTimeout?: number;
  /** How long the server's acknowledgement may take, from sending. Default: 10 000. */
  ackTimeout?: number;
  /** How long an upstream's reply may take, from sending. Default: 60 000. */
  requestTimeout?: number;
  /**
   * After `interval` without anything received the server is asked for a sign of life, and after `timeout` more the
   * connection counts as lost. An interval of 0 never asks. Default: 25 000 and 10 000.
   */
  heartbeat?: { interval?: number; timeout?: number };
  /** Default: `queue`. */
  offline?: Offline;
  /** What may wait to be sent; past either `publish` fails with `queue-full`. Default: 1 000 messages, 1 MiB. */
  queue?: { messagesMax?: number; bytesMax?: number };
  /**
   * How often a message with `retry` is sent again; lost once more, it is rejected with `connection-lost`: it may be what
   * the connections end for. Default: 10.
   */
  retriesMax?: number;
  /** How many messages may be sent and not answered; past it they wait in the queue. Default: 10 000. */
  unackedMax?: number;
  /**
   * The largest message; a larger one is refused with `message-too-big`. It should be the server's `--max-message`: past
   * that the server closes the connection with 1009, and a limit that it names then takes the place of this one, if it
   * is smaller. Default: 64 KiB.
   */
  messageBytesMax?: number;
  /**
   * How much may be handed to the WebSocket and not sent, and how much with `retry` may wait for its answer; past either
   * messages wait in the queue. Default: 4 MiB.
   */
  bufferedBytesMax?: number;
  /** Randomness for the back-off, from 0 up to 1; if it throws or gives no such number, ours. Default: `Math.random`. */
  random?: () => number;
}

export interface OperationOptions {
  /** Gives up waiting; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /**
   * How long it may take in all, waiting for a connection included, at most 2^31 - 1 milliseconds; then it is rejected
   * with `timeout`, unless the answer has arrived while the event loop stood still. Default: no limit of its own.
   */
  timeout?: number;
}

export interface SubscribeOptions extends OperationOptions {
  /** The command of the message that subscribes, on each connection anew. Default: `chat`. */
  command?: string;
  /** What goes with it, such as a token. The first subscription to a name says both; those who share it follow. */
  headers?: HeadersInit | null;
}

export interface SendOptions extends OperationOptions {
  /** Default: `chat`. */
  command?: string;
  headers?: HeadersInit | null;
  /** Instead of the client's own. */
  offline?: Offline;
  /**
   * Whether it is sent again if the connection is lost before the answer came, up to `retriesMax` times; the server may
   * then have it twice. One that the server closes the connection for with 1009 is not: it is rejected with
   * `message-too-big`. Default: false, it is rejected with `connection-lost` then, and the server may have it or not.
   */
  retry?: boolean;
}

export interface PublishOptions extends SendOptions {
  /** Not to this client, if it is subscribed. */
  noEcho?: boolean;
  /** False: do not ask for an acknowledgement; it resolves once it is handed to the WebSocket. Default: true. */
  ack?: boolean;
}

export interface RequestOptions extends SendOptions {
  body?: Body;
}

/**
 * Connects, and stays connected until `close()`. Throws only if the URL or an option is no good, or if the WebSocket class
 * throws, as a browser's does for `ws:` in a page of `https:`. Thrown on a reconnect, that is a try that has failed, and
 * the next one follows.
 */
export function connect(url: string | URL, options?: ConnectOptions): Client;

export class Client {
  private constructor();
  readonly state: State;
  /** When the next try starts while `waiting`, in milliseconds since 1970. */
  readonly retryAt: number | undefined;
  /** What waits to be sent. */
  readonly queued: { messages: number; bytes: number };

  /** Calls `listener` with each change of state, until the function that it returns is called. */
  on(event: "state", listener: (change: StateChange) => void): () => void;
  /** Calls `listener` with each message that comes, handlers or not: each copy of a message that comes several times. */
  on(event: "message", listener: (message: Message) => void): () => void;
  /**
   * Calls `listener` with what no promise tells: an error that the server sent for a message without `ack` or for a
   * subscription that it does not take again, and what a handler threw.
   */
  on(event: "error", listener: (error: LhttpError | Error) => void): () => void;

  /** Resolves when there is a connection and every subscription is live on it; at once, if so now. */
  ready(options?: OperationOptions): Promise<void>;

  /**
   * Calls `handler` with each message of a channel, or of all channels that a pattern matches. Resolves when the server
   * has confirmed it; while there is no connection, it waits for one. Rejects with the server's `LhttpError`. Without a
   * handler the room is to be iterated over: `for await (const message of room)`.
   */
  subscribe(name: string, handler?: (message: Message) => unknown, options?: SubscribeOptions): Promise<Room>;

  /** Publishes to one channel or several. Resolves when the server has confirmed it. */
  publish(channels: string | readonly string[], body?: Body, options?: PublishOptions): Promise<void>;

  /**
   * Lets the server send an HTTP request, such as `POST http://host/path`, and gives the answer. Of any method but GET
   * and HEAD the body is the whole LHTTP message.
   */
  request(upstream: string, options?: RequestOptions): Promise<Reply>;

  /** Sends a message without waiting for anything. Throws if it cannot be sent nor queued. */
  send(command: string, headers?: HeadersInit | null, body?: Body): void;

  /** Ends everything; what was not sent or not answered is rejected with `closed`. */
  close(): void;
}

/** What one call of `subscribe` gave. */
export class Room {
  private constructor();
  /** The channel or pattern. */
  readonly name: string;
  /** Whether the server confirmed it, on the connection that there is now. */
  readonly isLive: boolean;
  /** Publishes to this channel. */
  publish(body: Body, options?: PublishOptions): Promise<void>;
  /** Ends it: the handler is not called again. */
  unsubscribe(options?: OperationOptions): Promise<void>;
  /**
   * The messages, from the subscription on; leaving the loop unsubscribes. At most 1 000 wait to be read; past it the
   * loop ends with `queue-full`.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined>;
}

/** A message that came. */
export class Message {
  protected constructor();
  readonly command: string;
  /** In the order of the message, names as written, values trimmed. */
  readonly headers: [name: string, value: string][];
  /** A string if the message came as text, else bytes. */
  readonly body: string | Uint8Array;
  /** The channel on which this copy came; undefined for what is no publish, or no subscription of ours. */
  readonly channel: string | undefined;
  /** All channels that it was published to. */
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
  /** Whether it is one of success. */
  readonly ok: boolean;
}

export interface PartInit {
  headers?: HeadersInit | null;
  body?: string | Uint8Array | ArrayBuffer | ArrayBufferView;
}

/** Puts parts together to a body; the `multipart` header with their offsets goes with it by itself. */
export function multipart(parts: Iterable<PartInit>): Multipart;

export class Multipart {
  private constructor();
  /** The value of the `multipart` header. */
  readonly offsets: string;
  readonly body: string | Uint8Array;
}

/** One part of a message that came. */
export class Part {
  private constructor();
  readonly headers: [name: string, value: string][];
  /** A string if the message came as text, else bytes. */
  readonly body: string | Uint8Array;
  header(name: string): string | undefined;
  text(): string;
  bytes(): Uint8Array;
}

/**
 * An operation that failed. `code` is the server's (PROTOCOL.md §6), or the one it would have given, or 0 with one of
 * these reasons: `offline`, `queue-full`, `connection-lost`, `timeout`, `closed`.
 */
export class LhttpError extends Error {
  constructor(code: number, reason: string, message: string, options?: ErrorOptions);
  readonly code: number;
  /** One fixed word for programs. */
  readonly reason: string;
}
