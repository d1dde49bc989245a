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
