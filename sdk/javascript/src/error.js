/** An operation that failed: refused by the server, or not possible. */
export class LhttpError extends Error {
  /**
   * @param {number} code The server's code (PROTOCOL.md §6), the code that it would have sent, or 0 if it was never
   * asked.
   * @param {string} reason One fixed word for programs.
   * @param {string} message One sentence for people.
   * @param {ErrorOptions} [options]
   */
  constructor(code, reason, message, options) {
    super(message, options);
    this.name = "LhttpError";
    this.code = code;
    this.reason = reason;
  }
}

/**
 * The error of a subscription that was live before.
 * @param {{ name: string }} subscription
 * @param {LhttpError} error
 */
export function notAgain({ name }, error) {
  const sentence = `${JSON.stringify(name)} could not be subscribed to again: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}

/**
 * The error of a subscription whose listeners are not told who is there.
 * @param {{ name: string }} subscription
 * @param {any} error
 */
export function notPresent({ name }, error) {
  const sentence = `it is not known who is in ${JSON.stringify(name)}: ${error.message}`;
  return new LhttpError(error.code ?? 400, error.reason ?? "bad-body", sentence, { cause: error });
}

/**
 * The error of a subscription that the server has ended.
 * @param {{ name: string }} subscription
 * @param {LhttpError} error
 */
export function endedBy({ name }, error) {
  const sentence = `the server has ended the subscription to ${JSON.stringify(name)}: ${error.message}`;
  return new LhttpError(error.code, error.reason, sentence, { cause: error });
}
