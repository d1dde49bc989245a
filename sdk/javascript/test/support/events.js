// Waits for events, and never for time.

/** How long each step may take. */
const PATIENCE = 20_000;

/**
 * Resolves with the first event for which `wanted` returns true.
 * @param {import("../../src/client.js").Client} client
 * @param {"state" | "message" | "error"} name
 * @param {(event: any) => boolean} wanted
 */
export function next(client, name, wanted = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => (off(), reject(new Error(`no ${name} came`))), PATIENCE);
    const off = client.on(name, (event) => {
      if (!wanted(event)) return;
      clearTimeout(timer);
      off();
      resolve(event);
    });
  });
}

/** Collects its arguments, and can wait for a number of them. */
export function collector() {
  const items = [];
  /** @type {(() => void)[]} */
  let waiting = [];
  const collect = (item) => {
    items.push(item);
    for (const check of waiting) check();
  };
  collect.items = items;
  collect.until = (count) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${items.length} of ${count} came`)), PATIENCE);
      const check = () => {
        if (items.length < count) return;
        clearTimeout(timer);
        waiting = waiting.filter((other) => other !== check);
        resolve(items);
      };
      waiting.push(check);
      check();
    });
  return collect;
}
