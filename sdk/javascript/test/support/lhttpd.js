// A real lhttpd, started on a free port and killed at the end of the test.

import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

/** How long it may take to start. */
const PATIENCE = 20_000;

const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../../target", import.meta.url));
const binary = process.env.LHTTPD ?? `${target}/debug/lhttpd`;

/**
 * Why a test cannot run that needs this option of lhttpd, for example because it was built without a feature; false if it
 * can.
 * @param {string} option
 */
export function without(option) {
  const help = existsSync(binary) ? spawnSync(binary, ["--help"]).stdout.toString() : option;
  return help.includes(option) ? false : `this lhttpd has no ${option}`;
}

/**
 * Starts `lhttpd --listen 127.0.0.1:PORT ARGS…` and waits until it listens.
 * @param {import("node:test").TestContext} context Kills it when the test ends.
 * @param {{ port?: number, args?: string[] }} [options]
 */
export async function startLhttpd(context, { port = 0, args = [] } = {}) {
  if (!existsSync(binary)) throw new Error(`there is no ${binary}: run "cargo build", or set LHTTPD`);
  // Two cores if there are two.
  const cores = Math.min(2, availableParallelism());
  const child = spawn(binary, ["--listen", `127.0.0.1:${port}`, "--cores", `${cores}`, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  context.after(kill);
  const actual = await new Promise((resolve, reject) => {
    let log = "";
    const timer = setTimeout(() => reject(new Error(`lhttpd does not start:\n${log}`)), PATIENCE);
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text) => {
      log += text;
      const port = /listening on 127\.0\.0\.1:(\d+)/.exec(log)?.[1];
      if (port === undefined) return;
      clearTimeout(timer);
      resolve(Number(port));
    });
    child.once("exit", () => {
      clearTimeout(timer);
      reject(new Error(`lhttpd ended:\n${log}`));
    });
  });
  return { port: actual, url: `ws://127.0.0.1:${actual}/`, kill, stop: () => child.kill("SIGTERM") };
}
