// Programs that use Node's own WebSocket (22 and later; 20 with a flag), as a user runs them.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { startLhttpd } from "./support/lhttpd.js";

const repository = fileURLToPath(new URL("../../../", import.meta.url));
const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-websocket", "--no-warnings"] : [];

/** Runs a program beside the README of the repository. */
function run(context, program) {
  const folder = mkdtempSync(join(tmpdir(), "lhttp-node-"));
  context.after(() => rmSync(folder, { recursive: true }));
  symlinkSync(join(repository, "sdk"), join(folder, "sdk"));
  writeFileSync(join(folder, "room.mjs"), program);
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, "room.mjs"], {
    cwd: folder,
    timeout: 30_000,
  });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

test("the ten lines of the README print the promised output", async (context) => {
  const { port } = await startLhttpd(context);
  const readme = readFileSync(join(repository, "README.md"), "utf8");
  const [, program] = /^```js\n(import \{ connect \} from "\.\/sdk[^]*?)^```$/m.exec(readme);
  assert.ok(program.trim().split("\n").length <= 10, "ten lines");
  assert.deepEqual(run(context, program.replaceAll(":8081", `:${port}`)), {
    status: 0,
    stdout: "open\nMike: hello from JavaScript\nclosed\n",
    stderr: "",
  });
});

test("the client retries a missing server without waiting for the end of a failed attempt", async (context) => {
  const { port, kill } = await startLhttpd(context);
  await kill();
  // If only its time limit ended an attempt, that would take longer than the test's patience.
  const program = `
    import { connect } from "./sdk/javascript/dist/lhttp.mjs";
    const lhttp = connect("ws://127.0.0.1:${port}/", { backoff: { initial: 1 }, connectTimeout: 600_000 });
    lhttp.on("state", ({ state, attempt, closeCode }) => {
      if (state === "waiting") console.log(attempt, closeCode);
      if (attempt === 3) lhttp.close();
    });
  `;
  assert.deepEqual(run(context, program), { status: 0, stdout: "1 1006\n2 1006\n3 1006\n", stderr: "" });
});
