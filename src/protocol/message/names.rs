//! The channels and patterns that a head names: found once, and each kept once.

use crate::protocol::{message::Control, seen::Seen};

/// Up to this many names use a table on the stack, which costs less than one that is kept.
const FEW_NAMES: usize = 32;
/// The places of that table: a power of two, and twice the number of names, so that most names find an empty place.
const PLACES: usize = 2 * FEW_NAMES;

/// Bytes `start..end` of the payload, and of any other that begins as it does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where it starts.
    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, payload: &[u8]) -> &[u8] {
        &payload[self.start as usize..self.end as usize]
    }

    /// A number that is always equal for equal bytes and hardly ever for others. It mixes the first eight bytes, the
    /// last eight bytes and the length.
    fn fingerprint(self, payload: &[u8]) -> u64 {
        let (bytes, from_here) = (self.of(payload), &payload[self.start as usize..]);
        let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(start), Some(end)) => u64::from_le_bytes(*start).rotate_left(29) ^ u64::from_le_bytes(*end),
            _ if bytes.is_empty() => 0,
            _ => {
                // Up to seven bytes: if enough bytes follow, read eight and shift the extra ones out.
                let word = from_here.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                let slowly = || bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
                word.unwrap_or_else(slowly) << (64 - 8 * bytes.len())
            }
        };
        ends ^ bytes.len() as u64
    }
}

/// A channel or pattern in a `subscribe`, `publish` or `unsubscribe` header. The parser finds all names once, because
/// they are used twice: to check the message and to carry it out.
#[derive(Clone, Copy, Debug)]
struct Name {
    span: Span,
    control: Control,
}

impl Name {
    /// The identity of a name. The same name in a header of another kind is a different one.
    fn key(self, payload: &[u8]) -> (u16, &[u8]) {
        (self.control.bit(), self.span.of(payload))
    }
}

/// The names of one head, each where it occurs first. The memory is reused for each head.
#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<Name>,
    seen: Seen,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn push(&mut self, span: Span, control: Control) {
        self.list.push(Name { span, control });
    }

    /// The names in all headers of one kind, in order.
    pub(super) fn of<'a>(&'a self, payload: &'a [u8], control: Control) -> impl Iterator<Item = &'a [u8]> {
        self.spans_of(control).map(|span| span.of(payload))
    }

    /// The same as places in the payload.
    pub(super) fn spans_of(&self, control: Control) -> impl Iterator<Item = Span> {
        self.list.iter().filter(move |name| name.control == control).map(|name| name.span)
    }

    /// Drops repeated names (PROTOCOL.md §2: each name counts once). Call it once, after all names are added. Its cost
    /// grows with their number; it does not allocate.
    pub(super) fn keep_first_of_each(&mut self, payload: &[u8]) {
        match self.list.len() {
            0 | 1 => {}
            2..=FEW_NAMES => self.keep_first_of_few(payload),
            _ => self.keep_first_of_many(payload),
        }
    }

    /// A peer can find names whose hashes collide. With so few names the comparisons stay few, too.
    #[inline(never)] // most heads have one name, and need no such table
    fn keep_first_of_few(&mut self, payload: &[u8]) {
        const HASH_SHIFT: u32 = u64::BITS - PLACES.trailing_zeros();
        let list = &mut self.list;
        // A kept name's number plus one; 0 marks an empty place.
        let (mut kept, mut places) = (0, [0_u8; PLACES]);
        for at in 0..list.len() {
            let name = list[at];
            let hash = name.span.fingerprint(payload).wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2^64 by the golden ratio
            let mut place = (hash >> HASH_SHIFT) as usize;
            let is_new = loop {
                match places[place] {
                    0 => break true,
                    other if list[usize::from(other) - 1].key(payload) == name.key(payload) => break false,
                    _ => place = (place + 1) % PLACES,
                }
            };
            list[kept] = name;
            if is_new {
                kept += 1;
                places[place] = kept as u8;
            }
        }
        list.truncate(kept);
    }

    fn keep_first_of_many(&mut self, payload: &[u8]) {
        let Self { list, seen } = self;
        seen.reserve(list.len());
        let mut kept = 0;
        for at in 0..list.len() {
            let name = list[at];
            let key_at = |place: u32| list[place as usize].key(payload);
            let is_new = seen.is_new(name.key(payload), kept as u32, key_at);
            list[kept] = name;
            kept += usize::from(is_new);
        }
        list.truncate(kept);
        seen.clear();
    }
}
