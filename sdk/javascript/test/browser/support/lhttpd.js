// A real lhttpd with its chat room. It can be killed and restarted on the same ports.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** How long it may take to start. */
const PATIENCE = 20_000;

const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../../../target", import.meta.url));
const binary = process.env.LHTTPD ?? `${target}/debug/lhttpd`;

export class Lhttpd {
  #child;
  #address = "127.0.0.1:0";
  #secure;
  #demo = "127.0.0.1:0";
  #admin;
  #options;

  /** @param {readonly string[]} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Starts one on free ports and kills it when the test ends.
   * @param {import("node:test").TestContext} context
   * @param {readonly string[]} options
   */
  static async start(context, ...options) {
    if (!existsSync(binary)) throw new Error(`there is no ${binary}: run "cargo build", or set LHTTPD`);
    const server = new Lhttpd(options);
    context.after(() => server.kill());
    await server.start();
    return server;
  }

  /** Where its clients connect. */
  get socketUrl() {
    return `ws://${this.#address}/`;
  }

  /** Where its clients connect over TLS, if it was told to listen for them. */
  get secureUrl() {
    return `wss://${this.#secure}/`;
  }

  /** Where the chat room is, with a `/` at the end. */
  get url() {
    return `http://${this.#demo}/`;
  }

  /** Where its page for operators is, if it was told to have one. */
  get adminUrl() {
    return `http://${this.#admin}/`;
  }

  /** Where its clients connect, as a host and a port. */
  get place() {
    const [host, port] = this.#address.split(":");
    return { host, port: Number(port) };
  }

  /** The number of its process. */
  get pid() {
    return this.#child.pid;
  }

  /** Starts it, after the first time on the same ports. */
  async start(env = {}) {
    const args = ["--listen", this.#address, "--demo", this.#demo, "--cores", "1", ...this.#options];
    const admin = args.indexOf("--admin") + 1;
    if (admin && this.#admin) args[admin] = this.#admin;
    const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
    this.#child = child;
    const lines = createInterface({ input: child.stderr });
    const said = [];
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`lhttpd does not start: ${said.join("\n")}`)), PATIENCE);
      child.once("exit", (code) => reject(new Error(`lhttpd ended with ${code}: ${said.join("\n")}`)));
      lines.on("line", (line) => {
        said.push(line);
        this.#address = /listening on (\S+?)[:,]? /.exec(line)?.[1] ?? this.#address;
        this.#secure = /tls:\/\/([\d.:]+\d)/.exec(line)?.[1] ?? this.#secure;
        this.#admin = / admin: ([\d.:]+)/.exec(line)?.[1] ?? this.#admin;
        this.#demo = /demo: open http:\/\/(\S+)\//.exec(line)?.[1] ?? this.#demo;
        if (!line.includes("demo: open")) return;
        clearTimeout(timer);
        resolve(undefined);
      });
    });
  }

  /** Kills it at once, like a power cut. */
  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /**
   * Publishes like a program, with `POST /publish`.
   * @param {string} message
   */
  async publish(message) {
    const answer = await fetch(`http://${this.#address}/publish`, { method: "POST", body: message });
    return answer.status;
  }
}
