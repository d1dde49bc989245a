// The result of `npm pack`, as a project gets it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Packs the package, and unpacks it in a new project. */
function installed(context) {
  const project = mkdtempSync(join(tmpdir(), "lhttp-package-"));
  context.after(() => rmSync(project, { recursive: true }));
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", project], { cwd: root, stdio: "pipe" });
  const [{ filename, files }] = JSON.parse(packed.toString());
  const folder = join(project, "node_modules/lhttp-client");
  mkdirSync(folder, { recursive: true });
  execFileSync("tar", ["-xzf", join(project, filename), "-C", folder, "--strip-components=1"]);
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
  return { project, folder, files: files.map(({ path }) => path) };
}

/** Lets the compiler read `uses.ts`. */
function checkTypes(project, module, moduleResolution) {
  const lib = ["es2022", "dom"];
  const compilerOptions = { module, moduleResolution, lib, strict: true, noEmit: true, target: "es2022", types: [] };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["uses.ts"] }));
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", project], { stdio: "pipe" });
}

test("the package contains the files that its users need, and nothing else", (context) => {
  const { folder, files } = installed(context);
  const all = (name) => readdirSync(join(root, name)).map((file) => `${name}/${file}`);
  const expected = ["LICENSE", "README.md", "index.d.ts", "package.json", ...all("dist"), ...all("src")];
  assert.deepEqual(files.toSorted(), expected.toSorted());
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const needed = Object.keys(manifest).filter((key) => /dependencies$/i.test(key) && key !== "devDependencies");
  assert.deepEqual(needed, [], "it needs no other package to run");
  const scripts = Object.keys(manifest.scripts).filter((name) => /install|prepare/.test(name));
  assert.deepEqual(scripts, [], "it runs nothing when it is installed");
});

test("a project without modules requires it, and its types hold there", (context) => {
  const { project } = installed(context);
  writeFileSync(join(project, "package.json"), "{}");
  const code =
    'const { connect, LhttpError } = require("lhttp-client"); console.log(typeof connect, typeof LhttpError);';
  const run = execFileSync(process.execPath, ["-e", code], { cwd: project });
  assert.equal(run.toString(), "function function\n");
  // Tools that do not know `exports` find it, too.
  const { main } = JSON.parse(readFileSync(join(project, "node_modules/lhttp-client/package.json"), "utf8"));
  const file = join(project, "node_modules/lhttp-client", main);
  assert.equal(
    execFileSync(process.execPath, ["-p", `typeof require(${JSON.stringify(file)}).connect`]).toString(),
    "function\n",
  );
  writeFileSync(
    join(project, "uses.ts"),
    'import lhttp = require("lhttp-client"); export const client: lhttp.Client = lhttp.connect("ws://host/");',
  );
  checkTypes(project, "nodenext", "nodenext");
});

test("a project imports it, and its types hold with every way to resolve modules", (context) => {
  const { project } = installed(context);
  const code = 'import { connect } from "lhttp-client"; console.log(typeof connect);';
  const run = execFileSync(process.execPath, ["--input-type=module", "-e", code], { cwd: project });
  assert.equal(run.toString(), "function\n");
  copyFileSync(join(root, "test/types.ts"), join(project, "uses.ts"));
  for (const [module, moduleResolution] of [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ]) {
    checkTypes(project, module, moduleResolution);
  }
});
