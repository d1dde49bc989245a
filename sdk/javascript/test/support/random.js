// Reproducible random numbers: a test that fails prints its seed, and SEED=… runs it again with that seed.

/** @param {number} seed */
export function randomFrom(seed) {
  let state = seed >>> 0;
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (/** @type {number} */ bound) => Math.floor(next() * bound);
  return {
    next,
    below,
    /** @template T @param {readonly T[]} list */
    pick: (list) => list[below(list.length)],
    /** @template T @param {number} most @param {() => T} make */
    list: (most, make) => Array.from({ length: below(most + 1) }, make),
  };
}

/**
 * Runs `check` with many seeds.
 * @param {number} runs
 * @param {(random: ReturnType<typeof randomFrom>) => void} check
 */
export function forAll(runs, check) {
  const given = process.env.SEED;
  const first = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  for (let run = 0; run < (given === undefined ? runs : 1); run += 1) {
    const seed = (first + run) >>> 0;
    try {
      check(randomFrom(seed));
    } catch (error) {
      console.error(`failed with SEED=${seed}`);
      throw error;
    }
  }
}
