// Where the rooms of one channel stand in its history (PROTOCOL.md §10).
//
// Ids are opaque, so their order is only known from the order in which they come. On a live subscription that is the order
// of the channel. From a message that subscribes until its acknowledgement (here: a catch-up) it is not:
//
// - Live messages may come first. Then the server begins anew, at `since` or with the last ones, and some come again.
// - Copies for patterns look the same as those for the channel, and come in between.
//
// In both cases the last copy of a message has its right place. So a catch-up holds the messages until its acknowledgement,
// which names the newest one and so the end of the old ones. On a new connection the messages since the newest one come in
// order, if no pattern overlaps: these pass on as they come, but for the first ones.
//
// One thing cannot be known: where a gap is, if the server drops old messages while it sends them. On a live subscription, or
// among copies for patterns, not even the old ones can then be told from the others: those before the newest one are not given
// to rooms of the channel, which hear of a gap anyway.

/** The most ids of own messages without echo that are remembered: they come back only after a reconnect. */
const OWN_MAX = 1_000;
/**
 * A client that comes back holds so many messages: the acknowledgement may say that there is a gap before them. Where more
 * come there is none, because then they are the missed ones.
 */
const UNCERTAIN_MAX = 100;

/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./message.js").Message} Message */
/** @typedef {{ id: string, message: Message }} Numbered */
/** @typedef {{ since: string | undefined, last: number }} Wish What a message that subscribes asks for: `last` is 0 for none. */
/** @typedef {{ position: string | undefined, isLost: boolean }} Answer */

/** @type {Wish} */
export const NO_WISH = { since: undefined, last: 0 };

/** What one message that subscribes brings of a channel. */
export class CatchUp {
  /**
   * @param {Wish} wish
   * @param {boolean} isLive Whether the channel's messages come anyway.
   */
  constructor({ since, last }, isLive) {
    this.since = since;
    this.last = last;
    this.isLive = isLive;
    this.isHeld = last > 0 || (isLive && since !== undefined);
    /** Whether copies for patterns may be among the messages. */
    this.isOverlapped = false;
    /** @type {Numbered[]} Every copy, as it came. */
    this.held = [];
    /** @type {Set<string>} What was passed on. */
    this.seen = new Set();
  }

  /**
   * Replaces one whose subscription was ended in between.
   * @param {CatchUp} other
   */
  continues({ isHeld, isOverlapped, held, seen }) {
    Object.assign(this, { isHeld: this.isHeld || isHeld, isOverlapped, held, seen });
  }

  /**
   * The held messages in the order of the channel: those that came before the old ones, the old ones, those behind them.
   * @param {Answer | undefined} answer It names the newest of the old ones.
   */
  sorted(answer) {
    const position = answer?.position;
    const held = answer?.isLost ? this.#heldBehindGap(position) : this.held;
    const order = lastCopies(held);
    const end = 1 + order.findIndex(({ id }) => id === position);
    const old = order.slice(0, end);
    return { order, before: this.#before(held, position), old, behind: order.slice(end) };
  }

  /**
   * The messages that can be put in order although the server has lost some: it may have begun anew behind live messages, or
   * among copies for patterns, and nothing shows where.
   * @param {string | undefined} position
   */
  #heldBehindGap(position) {
    const newest = this.held.map(({ id }) => id).lastIndexOf(/** @type {string} */ (position));
    // Without anything old the newest message is the last one that was live before, or nothing but newer ones has come.
    const hasNothingOld = this.isLive ? this.last === 0 && newest === this.held.length - 1 : newest < 0;
    if (this.isOverlapped ? newest < 0 : !this.isLive || hasNothingOld) return this.held;
    return newest < 0 ? [] : this.held.slice(newest);
  }

  /**
   * The live messages in front of the old ones, if it can be told where these begin: the server goes back, so one of them
   * comes a second time. Copies for patterns do so, too.
   * @param {Numbered[]} held
   * @param {string | undefined} position
   */
  #before(held, position) {
    if (this.isOverlapped || position === undefined) return [];
    const ids = held.map(({ id }) => id);
    const old = new Set();
    let at = ids.lastIndexOf(position);
    while (at >= 0 && !old.has(ids[at])) old.add(ids[at--]);
    return held.slice(0, at + 1);
  }

  /**
   * The messages of which patterns have a copy: all that are newer than what came before. If there was nothing, or the last
   * ones come behind a gap, those of which two copies came, or which are not old.
   * @param {Answer | undefined} answer
   * @param {{ order: Numbered[], behind: Numbered[] }} messages
   * @param {string | undefined} heard
   */
  forPatterns(answer, { order, behind }, heard) {
    if (!this.isOverlapped) return [];
    // Behind a gap the first copy is in its right place: that of the pattern comes when the message is published.
    if (answer?.isLost) order = lastCopies([...this.held].reverse()).reverse();
    if ((heard === undefined || answer?.isLost) && this.last > 0) {
      const copies = new Map();
      for (const { id } of this.held) copies.set(id, (copies.get(id) ?? 0) + 1);
      return order.filter((one) => copies.get(one.id) > 1 || behind.includes(one));
    }
    return order.slice(1 + order.findIndex(({ id }) => id === heard));
  }
}

export class Place {
  #rooms;
  #resumes;
  /** @type {string | undefined} The newest message that the rooms have had, newcomers apart. */
  #newest = undefined;
  /** @type {string | undefined} The newest message that has come. */
  #heard = undefined;
  /** @type {CatchUp | undefined} */
  #catchUp = undefined;
  /** @type {Set<Room>} Rooms that wait for the end of a catch-up, or for one. */
  #newcomers = new Set();
  /**
   * The newest message of rooms that are ahead of the others: newcomers of before.
   * @type {Map<Room, string>}
   */
  #ahead = new Map();
  /**
   * The messages of the catch-up that has put some rooms ahead: they and patterns have had these.
   * @type {Set<string>}
   */
  #passed = new Set();
  /** Whether the others may have missed something before the messages of a newcomer. */
  #isBehind = false;
  /** @type {Set<string>} Messages of this client that it does not want to receive. */
  #own = new Set();
  /** @type {boolean | undefined} Whether the channel has a history; undefined before the first acknowledgement. */
  hasHistory = undefined;

  /**
   * @param {ReadonlySet<Room>} rooms
   * @param {boolean} resumes Whether missed messages are asked for.
   */
  constructor(rooms, resumes) {
    this.#rooms = rooms;
    this.#resumes = resumes;
  }

  /** Whether a message that subscribes is not answered yet. */
  get isCatchingUp() {
    return this.#catchUp !== undefined;
  }

  /**
   * Whether a room waits for its first messages.
   * @param {Room} room
   */
  isNewcomer(room) {
    return this.#newcomers.has(room);
  }

  /** Whether a live subscription must be asked for again. */
  get isIncomplete() {
    return !this.#catchUp && (this.#isBehind || this.#lastWanted() > 0);
  }

  /**
   * What the next message that subscribes asks for.
   * @param {boolean} isLive
   * @param {boolean} isOverlapped Whether there are patterns that match the channel.
   * @returns {Wish}
   */
  wish(isLive, isOverlapped) {
    const mustResume = isLive ? this.#isBehind : this.#resumes && this.#current().length > 0;
    if (mustResume && this.#newest !== undefined) return { since: this.#newest, last: 0 };
    // Only with a position the copies for patterns can be told from old messages: it is asked for first.
    if (isOverlapped && this.#heard === undefined && !isLive) return { since: undefined, last: 0 };
    return { since: undefined, last: this.#lastWanted() };
  }

  /**
   * @param {Room} room
   * @param {boolean} isLive
   */
  add(room, isLive) {
    if (room.last > 0 || !isLive || this.#catchUp) this.#newcomers.add(room);
  }

  /**
   * Replaces the place of a subscription of the same name that is ending. For the server the two are one.
   * @param {Place} other
   */
  takeOver(other) {
    this.hasHistory = other.hasHistory;
    this.#heard = other.#heard;
    this.#passed = other.#passed;
    this.#catchUp = other.#catchUp;
    other.#catchUp = undefined;
  }

  /**
   * A pattern has had a message while this subscription was not live.
   * @param {string} id
   */
  hear(id) {
    if (!this.#catchUp) this.#heard = id;
  }

  /** @param {Room} room */
  remove(room) {
    this.#newcomers.delete(room);
    this.#ahead.delete(room);
  }

  /**
   * A message that subscribes is sent.
   * @param {Wish} wish
   * @param {boolean} isLive
   */
  begin(wish, isLive) {
    const catchUp = new CatchUp(wish, isLive);
    if (this.#catchUp) catchUp.continues(this.#catchUp);
    this.#catchUp = catchUp;
    this.#isBehind = false;
    return catchUp;
  }

  /**
   * A message of the channel has come.
   * @param {string} id
   * @param {Message} message
   * @param {boolean} isOverlapped Whether it may be the copy for a pattern.
   */
  take(id, message, isOverlapped) {
    const catchUp = this.#catchUp;
    if (!catchUp) {
      this.#newest = this.#heard = id;
      for (const room of this.#current()) room.deliver(message);
      return;
    }
    catchUp.isOverlapped ||= isOverlapped;
    catchUp.isHeld ||= isOverlapped;
    catchUp.held.push({ id, message });
    const isCertain = catchUp.since === undefined || catchUp.seen.size > 0 || catchUp.held.length > UNCERTAIN_MAX;
    if (!catchUp.isHeld && isCertain) this.#pass(catchUp);
  }

  /**
   * Passes on what a catch-up holds.
   * @param {CatchUp} catchUp
   */
  #pass(catchUp) {
    // Where nothing old was asked for, the rooms may get messages already. From then on they have a place.
    if (catchUp.since === undefined) {
      for (const room of this.#newcomers) if (room.last === 0) this.#newcomers.delete(room);
    }
    const fresh = lastCopies(catchUp.held.splice(0)).filter(({ id }) => !catchUp.seen.has(id));
    for (const { id } of fresh) catchUp.seen.add(id);
    const deliveries = this.#wanted(this.#current(), fresh, false);
    this.#newest = this.#heard = fresh[fresh.length - 1]?.id ?? this.#heard;
    for (const { room, message } of deliveries) room.deliver(message);
  }

  /**
   * The message that subscribes is answered.
   * @param {CatchUp | undefined} catchUp What `begin` has returned for it.
   * @param {Answer | undefined} answer Undefined if the server has refused it.
   * @returns {Message[]} The messages of which patterns have a copy.
   */
  end(catchUp, answer) {
    if (!catchUp || this.#catchUp !== catchUp) return [];
    this.#catchUp = undefined;
    const position = answer?.position;
    const sorted = catchUp.sorted(answer);
    const { order, old, behind } = sorted;
    const copies = catchUp.forPatterns(answer, sorted, this.#heard);
    const forPatterns = copies.filter(({ id }) => !this.#passed.has(id)).map(({ message }) => message);
    this.#heard = order[order.length - 1]?.id ?? (catchUp.seen.size > 0 ? this.#heard : (position ?? this.#heard));
    if (answer) this.hasHistory = position !== undefined;
    const isLost = answer ? answer.isLost : catchUp.isLive && catchUp.since !== undefined;
    const hasGap = isLost ? this.#behindGap(catchUp) : [];
    // Copies for patterns do not move the place of a channel that is refused.
    if (!answer && !catchUp.isLive) return forPatterns;
    const current = this.#current();
    const forCurrent =
      catchUp.last > 0 && answer ? this.#next(current, sorted) : order.filter(({ id }) => !catchUp.seen.has(id));
    const deliveries = this.#wanted(current, forCurrent, true);
    for (const room of answer ? this.#served(catchUp) : []) {
      const given = [...(room.last > 0 ? old.slice(-room.last) : []), ...behind];
      this.#newcomers.delete(room);
      if (this.#isBehind) this.#ahead.set(room, given[given.length - 1]?.id ?? position);
      for (const { message } of given) deliveries.push({ room, message });
    }
    if (!this.#isBehind) this.#newest = this.#heard;
    this.#passed = new Set(this.#isBehind ? order.map(({ id }) => id) : []);
    if (this.hasHistory === false) this.#newest = this.#heard = undefined;
    // Last, because a handler may subscribe.
    for (const room of hasGap) room.gap();
    for (const { room, message } of deliveries) room.deliver(message);
    return forPatterns;
  }

  /** The subscription has ended. Returns the messages of which patterns have a copy. */
  leave() {
    return this.end(this.#catchUp, undefined);
  }

  /** The connection is gone. What was held comes again, or was not kept. */
  disconnected() {
    this.#catchUp = undefined;
    this.#isBehind = false;
    if (!this.#resumes) this.#newest = this.#heard = undefined;
  }

  /** The server does not give what was asked for. Returns the rooms that wait for it, which then go on without. */
  giveUp() {
    const rooms = [...this.#newcomers];
    this.#newcomers.clear();
    this.#isBehind = false;
    return rooms;
  }

  /**
   * A message of this client that the server does not send to it, except to a client that comes back.
   * @param {string} id
   */
  hasPublished(id) {
    this.#own.add(id);
    if (this.#own.size > OWN_MAX) this.#own.delete(/** @type {string} */ (this.#own.values().next().value));
  }

  /**
   * What comes behind the newest message of the rooms that are no newcomers. If a part of it is not there, they are behind.
   * @param {Room[]} rooms
   * @param {{ before: Numbered[], old: Numbered[], behind: Numbered[] }} messages
   */
  #next(rooms, { before, old, behind }) {
    if (rooms.length === 0) return [];
    const newest = before[before.length - 1]?.id ?? this.#newest;
    // Without a place there is nothing to miss.
    if (newest === undefined) return behind;
    const at = old.findIndex(({ id }) => id === newest);
    this.#newest = newest;
    this.#isBehind = old.length > 0 && at < 0;
    return this.#isBehind ? before : [...before, ...old.slice(at + 1), ...behind];
  }

  /**
   * The messages for rooms that are no newcomers, without those that they have had or do not want.
   * @param {Room[]} rooms
   * @param {Numbered[]} messages
   * @param {boolean} areAll Whether no others follow that a room may have had.
   */
  #wanted(rooms, messages, areAll) {
    const isOwn = new Set(messages.filter(({ id }) => this.#own.delete(id)));
    return rooms.flatMap((room) => {
      const at = messages.findIndex(({ id }) => id === this.#ahead.get(room));
      const isAhead = this.#ahead.has(room);
      if (isAhead && at < 0 && !areAll) return [];
      this.#ahead.delete(room);
      const given = messages.slice(at + 1).filter(({ id }) => !isAhead || !this.#passed.has(id));
      return given.filter((one) => !isOwn.has(one)).map(({ message }) => ({ room, message }));
    });
  }

  /**
   * The rooms that may have missed messages. Those that began with the last ones get these again, unless they have had some
   * of them.
   * @param {CatchUp} catchUp
   */
  #behindGap({ since, last, seen }) {
    // Those that begin with the last ones once more are in use, and may have a listener.
    const rooms = last > 0 ? [...this.#rooms] : this.#current();
    const isAnew = since !== undefined && seen.size === 0;
    for (const room of rooms) if (room.last > 0 && isAnew && !this.#ahead.has(room)) this.#newcomers.add(room);
    return rooms;
  }

  /**
   * The newcomers that get what they wait for from this catch-up.
   * @param {CatchUp} catchUp
   */
  #served({ last }) {
    return [...this.#newcomers].filter((room) => room.last <= last || !this.hasHistory);
  }

  #current() {
    const rooms = [...this.#rooms];
    return this.#newcomers.size === 0 ? rooms : rooms.filter((room) => !this.#newcomers.has(room));
  }

  #lastWanted() {
    return [...this.#newcomers].reduce((most, { last }) => Math.max(most, last), 0);
  }
}

/**
 * Each message once, at the place of its last copy.
 * @param {readonly Numbered[]} copies
 */
function lastCopies(copies) {
  /** @type {Map<string, Numbered>} */
  const order = new Map();
  for (const copy of copies) {
    order.delete(copy.id);
    order.set(copy.id, copy);
  }
  return [...order.values()];
}

/**
 * The number that the server has given to this copy of a message, and its channel: two lines right behind the start line.
 * A client may write such lines into a message to a channel without a history; but its message says where it went.
 * @param {Message} message
 * @returns {{ id: string, channel: string } | undefined}
 */
export function numberOf({ headers }) {
  const [first, second] = headers;
  if (first?.[0] !== "message-id" || second?.[0] !== "channel") return undefined;
  const [id, channel] = [first[1], second[1]];
  const published = headers.filter(([name]) => name.toLowerCase() === "publish");
  const isThere = published.some(([, names]) => names.split(/[ \t]+/).includes(channel));
  return published.length === 0 || isThere ? { id, channel } : undefined;
}
