// The users of one channel, as far as somebody listens for them (PROTOCOL.md §11).
//
// The server sends a list when it is asked, and changes. Both come in the order in which they hold, so a change leads on
// from the list before it. Without a list, and after a time in which changes may have been missed, changes say nothing:
// they are dropped until the next list has come. Its difference from the last one is then told as changes are.
//
// In a large room lists leave users out, and messages leave changes out. Each says how many there are in all.

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
  /** How many users there are, known or not. */
  #total = 0;
  /** Whether the last list had all users, and none were too many since. */
  #wasWhole = false;
  /** Whether changes came since then that were not named. */
  #hasMissed = false;
  /** The last change as it came: one comes once for each subscription that matches, patterns included. */
  #lastChange = "";
  /** Whether the next change leads on from what is known. */
  isCurrent = false;
  /** Whether a list is asked for. */
  isAsked = false;
  /** Whether it is time for another list, because changes were not named. */
  isDue = false;

  /** @param {ReadonlySet<import("./room.js").Room>} rooms */
  constructor(rooms) {
    this.#rooms = rooms;
  }

  /** Whether any room has a listener. */
  get isWatched() {
    return [...this.#rooms].some((room) => room.isWatching);
  }

  /** Whether a list is needed before changes say anything, or because some were not named. */
  get needsList() {
    return !this.isCurrent || this.isDue;
  }

  /** Whether another list may make it complete again: the next one of a large room is cut as the last one was. */
  get wouldBeComplete() {
    return this.isCurrent && !this.isDue && this.#wasWhole && this.#hasMissed;
  }

  /** Changes may have been missed. */
  outdated() {
    this.isCurrent = this.isAsked = this.isDue = false;
  }

  /** Nobody listens any more. */
  forget() {
    this.outdated();
    this.#users = undefined;
    this.#lastChange = "";
  }

  /** @returns {import("../index.d.ts").Present} */
  present() {
    const users = [...(this.#users?.values() ?? [])].sort(byName);
    const more = Math.max(0, this.#total - users.length);
    return { users, more, total: this.#total, isComplete: this.#wasWhole && !this.#hasMissed };
  }

  /** @param {import("../index.d.ts").Present} list */
  setList({ users, total }) {
    const before = this.#users;
    const kept = users.slice(0, USERS_MAX);
    const isWhole = kept.length === total;
    // Of lists that leave users out the difference is not known.
    const areWhole = this.#wasWhole && isWhole;
    const now = new Map(kept.map((one) => [one.user, one]));
    this.#users = now;
    this.#total = total;
    this.#wasWhole = isWhole;
    this.#hasMissed = false;
    this.#lastChange = "";
    this.isCurrent = true;
    this.isAsked = this.isDue = false;
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
    /** @type {{ joined: PresentUser[], left: PresentUser[], users: number, more?: number }} */
    const { joined, left, users: total, more = 0 } = JSON.parse(text);
    const before = [this.#total, this.#hasMissed].join();
    const gone = left.flatMap((one) => this.#remove(one) ?? []);
    const put = joined.filter((one) => !this.#isKnown(one)).map((one) => ({ one, isNew: this.#put(one) }));
    const came = put.filter(({ isNew }) => isNew).map(({ one }) => one);
    this.#total = total;
    this.#hasMissed ||= more > 0;
    const isNews = gone.length > 0 || put.length > 0 || before !== [this.#total, this.#hasMissed].join();
    if (isNews) this.#tell(gone, came);
  }

  /**
   * What was known of a user who has left; undefined if nobody knew that the user was there.
   * @param {PresentUser} one
   */
  #remove(one) {
    const known = this.#users?.get(one.user);
    this.#users?.delete(one.user);
    const isOneOfOthers = !this.#wasWhole || this.#hasMissed;
    return known ?? (isOneOfOthers ? one : undefined);
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
    if (isNew && users >= USERS_MAX) this.#wasWhole = false;
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
