// Tokens (PROTOCOL.md §8): asking the program for one, and reading when it runs out.

import { LhttpError } from "./error.js";
import { within } from "./waiting.js";

/** The subprotocol that a client speaks. The server selects it, and never the one that carries the token. */
const SUBPROTOCOL = "lhttp";
const TOKEN_SUBPROTOCOL = "lhttp.token.";

/** The three parts of a signed JWT (RFC 7519). All of its characters are allowed in a subprotocol and in a header. */
const JWT_FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** The word of an error for a token that the program did not give. */
const NO_TOKEN = "no-token";

/** Where a connection goes, and as whom: asks the program's functions anew for each attempt. */
export class Access {
  #url;
  #options;
  /** Whether the server refused the last token, or may have. */
  #isRefused = false;

  /**
   * @param {import("../index.d.ts").UrlInit} url
   * @param {import("./options.js").Options} options
   */
  constructor(url, options) {
    this.#url = url;
    this.#options = options;
  }

  /** Whether the client has tokens. */
  get hasTokens() {
    return this.#options.token !== undefined;
  }

  /**
   * What is known without asking: the URL, if nothing has to be asked.
   * @returns {{ url: string | URL, protocols: string | string[] | undefined } | undefined}
   */
  get known() {
    if (typeof this.#url === "function" || this.hasTokens) return undefined;
    return { url: this.#url, protocols: this.#options.protocols };
  }

  /**
   * Asks for everything that a handshake needs.
   * @returns {Promise<{ url: string | URL, protocols: string | string[] | undefined, token: string | undefined }>}
   */
  async ask() {
    const url = this.#url;
    const [address, token] = await Promise.all([
      typeof url === "function" ? this.#called("URL", "connection-lost", url) : url,
      this.hasTokens ? this.askToken("connect") : undefined,
    ]);
    return { url: address, protocols: offer(this.#options.protocols, token), token };
  }

  /**
   * Asks for a token. Undefined if the program has none now.
   * @param {"connect" | "renewal"} reason Why; the program hears of a refusal instead if there was one.
   * @returns {Promise<string | undefined>}
   */
  async askToken(reason) {
    const { token: ask } = this.#options;
    const request = { reason: this.#isRefused ? /** @type {const} */ ("refused") : reason };
    const token = await this.#called("token", NO_TOKEN, () => ask?.(request));
    if (token === undefined || token === null) return undefined;
    if (typeof token === "string" && JWT_FORM.test(token)) return token;
    throw new LhttpError(0, NO_TOKEN, "the token function gave something that is not a JWT");
  }

  /** The server has accepted the last token. */
  accepted() {
    this.#isRefused = false;
  }

  /** The server has refused the last token, or may have. */
  refused() {
    this.#isRefused = true;
  }

  /**
   * Calls a function of the program, which has the time of an attempt to connect.
   * @template T
   * @param {string} what
   * @param {string} reason The word of the error, if the function fails.
   * @param {() => T | Promise<T>} ask
   * @returns {Promise<T>}
   */
  async #called(what, reason, ask) {
    try {
      return await within(Promise.resolve(ask()), { timeout: this.#options.connectTimeout });
    } catch (error) {
      const sentence = `the ${what} function failed: ${/** @type {Error} */ (error)?.message ?? error}`;
      throw new LhttpError(0, reason, sentence, { cause: error });
    }
  }
}

/**
 * The subprotocols of a handshake with this token.
 * @param {string | string[] | undefined} protocols The program's own.
 * @param {string | undefined} token
 */
function offer(protocols, token) {
  if (token === undefined) return protocols;
  const own = typeof protocols === "string" ? [protocols] : (protocols ?? []);
  return [...new Set([SUBPROTOCOL, `${TOKEN_SUBPROTOCOL}${token}`, ...own])];
}

/**
 * When a token runs out, in milliseconds since 1970; undefined if it does not say. The signature is not looked at: only
 * the server can tell whether the token is genuine.
 * @param {string} token
 * @returns {number | undefined}
 */
export function expiryOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    // Each byte as one character: that spoils other text, but neither the number nor the syntax around it.
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? exp * 1_000 : undefined;
  } catch {
    return undefined;
  }
}
