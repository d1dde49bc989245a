// Programs as a user might write them, each in a separate process.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The flag with which Node 20 has its own WebSocket. */
export const nodesOwnFlags =
  Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-websocket", "--no-warnings"] : [];

/** How long a program may run. */
const PATIENCE = 30_000;

/**
 * Runs a module in this package, and returns its exit code and output. The test's own event loop goes on.
 * @param {string} code
 * @param {string[]} flags
 */
export function runModule(code, flags = nodesOwnFlags) {
  const child = spawn(process.execPath, [...flags, "--input-type=module", "-e", code], {
    cwd: root,
    timeout: PATIENCE,
  });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].setEncoding("utf8").on("data", (text) => (said[name] += text));
  return new Promise((resolve) => child.once("close", (status) => resolve({ status, ...said })));
}
