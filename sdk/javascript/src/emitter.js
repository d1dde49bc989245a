/** Listeners by event; those of one event are called in the order in which they were added. */
export class Emitter {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();

  /**
   * Calls `listener` on each such event, until the returned function is called.
   * @param {string} event
   * @param {(event: any) => void} listener
   * @returns {() => void}
   */
  on(event, listener) {
    // Wrapped, so that a function that is added twice is called twice, and each is removed separately.
    const own = (/** @type {any} */ value) => listener(value);
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Set()));
    listeners.add(own);
    return () => void listeners.delete(own);
  }

  /** @param {string} event */
  has(event) {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  /**
   * Calls all listeners. One that throws does not prevent the others.
   * @param {string} event
   * @param {any} value
   */
  emit(event, value) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}

/**
 * Throws outside our own calls: to `window.onerror` or `uncaughtException`, as from any event handler.
 * @param {unknown} error
 */
export function throwLater(error) {
  setTimeout(() => {
    throw error;
  }, 0);
}
