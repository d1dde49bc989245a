//! The channels and patterns that a head names: found once, each kept once.

use crate::protocol::{message::Control, seen::Seen};

/// Up to this many names are compared with each other, which is cheaper than a table.
const FEW_NAMES: usize = 32;

/// Bytes `start..end` of the payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn of(self, payload: &[u8]) -> &[u8] {
        &payload[self.start as usize..self.end as usize]
    }

    /// A number that the same bytes always have, and others hardly ever: their ends and their length.
    fn fingerprint(self, payload: &[u8]) -> u64 {
        let (bytes, from_here) = (self.of(payload), &payload[self.start as usize..]);
        let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(start), Some(end)) => u64::from_le_bytes(*start).rotate_left(29) ^ u64::from_le_bytes(*end),
            _ if bytes.is_empty() => 0,
            _ => {
                // Up to seven bytes: read with what is behind them, if there is enough, which is then shifted out.
                let word = from_here.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                let slowly = || bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
                word.unwrap_or_else(slowly) << (64 - 8 * bytes.len())
            }
        };
        ends ^ bytes.len() as u64
    }
}

/// A channel or pattern in a `subscribe`, `publish` or `unsubscribe` header. They are found once, when the head is
/// parsed, because they are looked at twice: when the message is checked and when it is carried out.
#[derive(Clone, Copy, Debug)]
struct Name {
    span: Span,
    control: Control,
}

impl Name {
    /// What tells it from others: the same name in another header is another one.
    fn key(self, payload: &[u8]) -> (u8, &[u8]) {
        (self.control.bit(), self.span.of(payload))
    }
}

/// The names of one head, each where it is mentioned first. Its memory is used again for each head.
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
        self.list.iter().filter(move |name| name.control == control).map(|name| name.span.of(payload))
    }

    /// Drops names that were there before (PROTOCOL.md §2: each name counts once). To be called when all are there. Cost: by
    /// their number, and no allocation.
    pub(super) fn keep_first_of_each(&mut self, payload: &[u8]) {
        match self.list.len() {
            0 | 1 => {}
            2..=FEW_NAMES => self.keep_first_of_few(payload),
            _ => self.keep_first_of_many(payload),
        }
    }

    #[inline(never)] // most heads have one name, and need no room for so many
    fn keep_first_of_few(&mut self, payload: &[u8]) {
        let list = &mut self.list;
        let (mut kept, mut prints) = (0, [0; FEW_NAMES]);
        for at in 0..list.len() {
            let name = list[at];
            let print = name.span.fingerprint(payload);
            let is_same = |other: &Name| other.key(payload) == name.key(payload);
            // Nearly always all of them differ, which their fingerprints show.
            let is_new = !prints[..kept].contains(&print) || !list[..kept].iter().any(is_same);
            (prints[kept], list[kept]) = (print, name);
            kept += usize::from(is_new);
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
