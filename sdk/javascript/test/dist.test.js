import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

import { build } from "../build.js";
import * as source from "../src/index.js";

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");

test("dist is the result of building src", () => {
  const files = build();
  assert.deepEqual(readdirSync(new URL("../dist/", import.meta.url)).sort(), Object.keys(files).sort());
  for (const [name, text] of Object.entries(files)) {
    assert.ok(read(`dist/${name}`) === text, `dist/${name} is old: npm run build`);
  }
});

test("the module exports what the types declare", async () => {
  const types = read("index.d.ts");
  const declared = [...types.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name).sort();
  assert.deepEqual(Object.keys(await import("lhttp-client")).sort(), declared);
  assert.deepEqual(Object.keys(source).sort(), declared);
  assert.deepEqual(Object.keys(createRequire(import.meta.url)("lhttp-client")).sort(), declared);
  assert.ok(declared.length > 5);
});

test("the types declare each class's public members, and no others", () => {
  const types = read("index.d.ts");
  for (const [, name, body] of types.matchAll(/^export class (\w+)[^{]*\{\n([\s\S]*?)^\}/gm)) {
    if (name === "LhttpError") continue;
    const declared = new Set([...body.matchAll(/^  (?:readonly )?([a-z]\w*)(?:\(|:)/gm)].map(([, member]) => member));
    // Members that only the client's own modules call are not for callers.
    const internal =
      {
        Client: ["leave", "show", "watch", "handlerFailed"],
        Room: ["deliver", "end", "gap", "isWatching", "tellPresence"],
      }[name] ?? [];
    const methods = Object.getOwnPropertyNames(source[name].prototype).filter((member) => member !== "constructor");
    for (const method of methods) {
      assert.equal(declared.has(method), !internal.includes(method), `${name}.${method}`);
    }
    assert.ok(declared.size > 0, name);
  }
});
