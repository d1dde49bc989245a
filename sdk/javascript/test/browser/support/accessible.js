// What axe-core says of a page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails if axe-core finds anything, best practices included. */
export async function assertAccessible(page, what) {
  // Through the debugger, because the page's own policy allows no other script.
  await page.evaluate(`if (!window.axe) { ${axe} }`);
  // Nobody chose the colours of a transition.
  await page.evaluate(() =>
    Promise.all(
      document
        .getAnimations()
        .map((one) => one.playState === "running" && one.effect.getComputedTiming().iterations === 1 && one.finished),
    ),
  );
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  const told = violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  );
  assert.deepEqual(told, [], what);
  assert.ok(
    passes.some(({ id }) => id === "color-contrast"),
    "axe looked at colours",
  );
}
