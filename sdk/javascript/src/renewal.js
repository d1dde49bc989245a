// Renews the token of a connection before it runs out (PROTOCOL.md §8).

import { Backoff } from "./backoff.js";
import { LhttpError } from "./error.js";
import { headerPair } from "./headers.js";
import { expiryOf } from "./token.js";

/** The command of a message with a new token. A processor of this command would receive it. */
const TOKEN_COMMAND = "lhttp-token";

/**
 * A token is renewed at a random moment between these shares of its remaining life, so that the clients that connected
 * together do not all ask at once.
 */
const RENEWAL_EARLIEST = 0.75;
const RENEWAL_LATEST = 0.9;

/**
 * The shortest time between two renewals, in milliseconds: for a clock that is wrong, and for a server that refuses
 * again and again what the client asks.
 */
const RENEWAL_INTERVAL_MIN = 10_000;

/** With more than 2^31 - 1 ms setTimeout would fire at once. */
const TIMER_MAX = 2 ** 31 - 1;

/**
 * @typedef {object} Line The link to the server.
 * @property {() => boolean} isUp
 * @property {(command: string, headers: import("./headers.js").Header[]) => Promise<import("./message.js").Message>} ask
 * Sends a message, and resolves with its acknowledgement.
 * @property {(error: LhttpError) => void} failed
 * @property {() => void} renewing A new token is about to be sent.
 * @property {() => void} renewed The server has accepted a new token.
 */

export class Renewal {
  #access;
  #line;
  #backoff;
  /** Counts connections, to recognise an answer from an old one. */
  #epoch = 0;
  /** @type {Promise<void> | undefined} The renewal that is in progress. */
  #current = undefined;
  #isWaitingToRetry = false;
  /** When the last renewal began; on the wall clock, like the ends of tokens. */
  #begunAt = -Infinity;
  #stopTimer = () => {};

  /**
   * @param {import("./token.js").Access} access
   * @param {import("./options.js").Options} options
   * @param {Line} line
   */
  constructor(access, options, line) {
    this.#access = access;
    this.#line = line;
    this.#backoff = new Backoff({ ...options.backoff, random: options.random });
  }

  /**
   * A connection was made with this token.
   * @param {string | undefined} token
   */
  connected(token) {
    this.#begunAt = -Infinity;
    this.#schedule(token);
  }

  /** The connection is gone, and with it everything that the server knew of the client. */
  lost() {
    this.#epoch += 1;
    this.#current = undefined;
    this.#isWaitingToRetry = false;
    this.#stopTimer();
    this.#backoff.reset();
  }

  /** The server has answered something with 401: the token has run out, or never was enough. */
  unauthorized() {
    if (!this.#access.hasTokens || this.#current || this.#isWaitingToRetry || !this.#line.isUp()) return;
    this.#access.refused();
    this.#after(this.#begunAt + RENEWAL_INTERVAL_MIN - Date.now());
  }

  /**
   * Asks for a token and gives it to the server, now.
   * @returns {Promise<void>}
   */
  renew() {
    this.#current ??= this.#renew(this.#epoch);
    return this.#current;
  }

  /** @param {number} epoch */
  async #renew(epoch) {
    this.#stopTimer();
    this.#isWaitingToRetry = false;
    this.#begunAt = Date.now();
    try {
      const token = await this.#access.askToken("renewal");
      // A connection that is gone needs none; the next one asks for its own. A user who has none any more has left.
      if (epoch !== this.#epoch || token === undefined) return;
      this.#line.renewing();
      const ack = await this.#line.ask(TOKEN_COMMAND, [headerPair("token", token)]);
      if (epoch !== this.#epoch) return;
      this.#access.accepted();
      this.#backoff.reset();
      this.#schedule(token, ack.header("expires-in"));
      this.#line.renewed();
    } catch (error) {
      if (epoch === this.#epoch) this.#failed(/** @type {LhttpError} */ (error));
      throw error;
    } finally {
      if (epoch === this.#epoch) this.#current = undefined;
    }
  }

  /** @param {LhttpError} error */
  #failed(error) {
    if (error.code === 401) this.#access.refused();
    const sentence = `the token could not be renewed: ${error.message}`;
    this.#line.failed(new LhttpError(error.code, error.reason, sentence, { cause: error }));
    this.#isWaitingToRetry = true;
    this.#after(this.#backoff.next(true));
  }

  /**
   * @param {string | undefined} token
   * @param {string} [expiresIn] What the server says, in seconds. Its clock is the one that counts.
   */
  #schedule(token, expiresIn) {
    this.#stopTimer();
    const end = token === undefined ? undefined : expiryOf(token);
    const told = /^\d+$/.test(expiresIn ?? "") ? Number(expiresIn) * 1_000 : undefined;
    const left = told ?? (end === undefined ? undefined : end - Date.now());
    if (left === undefined) return;
    const share = RENEWAL_EARLIEST + (RENEWAL_LATEST - RENEWAL_EARLIEST) * this.#backoff.share();
    this.#after(Math.max(left * share, RENEWAL_INTERVAL_MIN));
  }

  /** @param {number} time */
  #after(time) {
    this.#stopTimer();
    const wait = Math.min(Math.max(time, 0), TIMER_MAX);
    const timer = setTimeout(() => {
      if (wait < time) return this.#after(time - wait);
      // The line was told of a failure.
      this.renew().catch(() => {});
    }, wait);
    this.#stopTimer = () => clearTimeout(timer);
  }
}
