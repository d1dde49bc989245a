// The users of one channel, as far as somebody listens for them (PROTOCOL.md §11).
//
// The server sends a list when it is asked, and changes. Both come in the order in which they hold, so a change leads on
// from the list before it. Without a list, and after a time in which changes may have been missed, changes say nothing:
// they are dropped until the next list has come. Its difference from the last one is then told as changes are.

/** The most users that are known of a channel; the others are only counted. */
const USERS_MAX = 10_000;

/** @typedef {import("../index.d.ts").PresentUser} PresentUser */

/**
 * @param {PresentUser} one
 * @param {PresentUser} other
 */
const byName = ({ user: one }, { user: other }) => (one < other ? -1 : 1);

export class Roster {
  #rooms;
  /** @type {Map<string, PresentUser> | undefined} By name; undefined before the first list. */
  #users = undefined;
  /** How many further users there are. */
  #more = 0;
  /** The last change as it came: one comes once for each subscription that matches, patterns included. */
  #lastChange = "";
  /** Whether the next change leads on from what is known. */
  isCurrent = false;
  /** Whether a list is asked for. */
  isAsked = false;

  /** @param {ReadonlySet<import("./room.js").Room>} rooms */
  constructor(rooms) {
    this.#rooms = rooms;
  }

  /** Whether any room has a listener. */
  get isWatched() {
    return [...this.#rooms].some((room) => room.isWatching);
  }

  /** Changes may have been missed. */
  outdated() {
    this.isCurrent = this.isAsked = false;
  }

  /** Nobody listens any more. */
  forget() {
    this.outdated();
    this.#users = undefined;
    this.#lastChange = "";
  }

  /** The users who are known to be there, sorted, and the number of the others. */
  present() {
    const users = [...(this.#users?.values() ?? [])].sort(byName);
    return { users, more: this.#more };
  }

  /** @param {import("../index.d.ts").Present} list */
  setList({ users, more }) {
    const before = this.#users;
    // Of lists that leave users out the difference is not known.
    const areWhole = this.#more === 0 && more === 0;
    const kept = users.slice(0, USERS_MAX);
    const now = new Map(kept.map((one) => [one.user, one]));
    this.#users = now;
    this.#more = more + users.length - kept.length;
    this.#lastChange = "";
    this.isCurrent = true;
    this.isAsked = false;
    if (!before || !areWhole) return this.#tell([], []);
    const gone = [...before.values()].filter(({ user }) => !now.has(user));
    const came = kept.filter(({ user }) => !before.has(user));
    this.#tell(gone, came);
  }

  /** @param {import("./message.js").Message} message */
  change(message) {
    const text = message.text();
    if (text === this.#lastChange) return;
    this.#lastChange = text;
    /** @type {{ joined: PresentUser[], left: PresentUser[] }} */
    const { joined, left } = JSON.parse(text);
    const gone = left.flatMap((one) => this.#remove(one) ?? []);
    const put = joined.filter((one) => !this.#isKnown(one)).map((one) => ({ one, isNew: this.#put(one) }));
    const came = put.filter(({ isNew }) => isNew).map(({ one }) => one);
    if (gone.length > 0 || put.length > 0) this.#tell(gone, came);
  }

  /**
   * What was known of a user who has left; undefined if the user was not there.
   * @param {PresentUser} one
   */
  #remove(one) {
    const known = this.#users?.get(one.user);
    if (known) this.#users?.delete(one.user);
    else if (this.#more > 0) this.#more -= 1;
    else return undefined;
    return known ?? one;
  }

  /**
   * Whether this says nothing new.
   * @param {PresentUser} one
   */
  #isKnown(one) {
    return JSON.stringify(this.#users?.get(one.user)) === JSON.stringify(one);
  }

  /**
   * Whether the user is new.
   * @param {PresentUser} one
   */
  #put(one) {
    const [isNew, users] = [!this.#users?.has(one.user), this.#users?.size ?? 0];
    if (isNew && users >= USERS_MAX) this.#more += 1;
    else this.#users?.set(one.user, one);
    return isNew;
  }

  /**
   * @param {PresentUser[]} left
   * @param {PresentUser[]} joined
   */
  #tell(left, joined) {
    for (const room of [...this.#rooms]) room.tellPresence(this, left, joined);
  }
}
