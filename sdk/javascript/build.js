// Makes dist/: the modules of src/ in one file, as an ES module, for CommonJS and as a classic script. The modules can
// simply be concatenated, because they share no name at their top level (otherwise the module would not parse) and
// import by name. Also copies the types to the file name that CommonJS needs.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const IMPORT = /^import \{[^}]*\} from "([^"]+)";\n/gm;
const REEXPORT = /^export \{([^}]*)\} from "([^"]+)";\n/gm;

/** The files, by name. */
export function build() {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const banner = `// lhttp-client ${version}, MIT. Made from src/ by build.js: change it there.\n`;
  const index = readFileSync(join(root, "src/index.js"), "utf8");
  const names = [...index.matchAll(REEXPORT)].flatMap(([, list]) => list.split(",").map((name) => name.trim()));
  return {
    "lhttp.mjs": `${banner}\n${bundle("src/index.js")}\nexport { ${names.join(", ")} };\n`,
    "lhttp.cjs": `${banner}"use strict";\n\n${bundle("src/index.js")}\nmodule.exports = { ${names.join(", ")} };\n`,
    "lhttp.d.cts": readFileSync(join(root, "index.d.ts"), "utf8"),
    "lhttp.js": `${banner}(function (target) {\n"use strict";\n\n${bundle("src/classic.js")}\ninstall(target);\n})(globalThis);\n`,
  };
}

/**
 * The modules that `entry` needs, each after those that it imports, without their imports and exports.
 * @param {string} entry
 */
function bundle(entry) {
  /** @type {Map<string, string>} */
  const modules = new Map();
  /** @type {Set<string>} */
  const entered = new Set();
  /** @param {string} path */
  const visit = (path) => {
    if (entered.has(path)) return;
    entered.add(path);
    const text = readFileSync(path, "utf8");
    for (const [, from] of text.matchAll(IMPORT)) visit(resolve(dirname(path), from));
    for (const [, , from] of text.matchAll(REEXPORT)) visit(resolve(dirname(path), from));
    const code = text
      .replace(IMPORT, "")
      .replace(REEXPORT, "")
      .replace(/^export (?=(async )?function|class|const|let)/gm, "");
    if (/^(import|export)\b/m.test(code)) throw new Error(`${path}: an import or export that build.js does not know`);
    if (code.trim() !== "") modules.set(path, code.trim());
  };
  visit(join(root, entry));
  return `${[...modules.values()].join("\n\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(join(root, "dist"), { recursive: true });
  for (const [name, text] of Object.entries(build())) writeFileSync(join(root, "dist", name), text);
}
