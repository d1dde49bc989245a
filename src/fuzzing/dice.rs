//! Decisions that are taken from bytes, so that a fuzzer can change them one by one.

/// Bytes that have not decided anything yet. When there are no more, every decision is the first one.
pub(super) struct Dice<'b>(&'b [u8]);

impl<'b> Dice<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// A number below this one, which is 1 to 65536.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let byte = usize::from(self.byte());
        if end <= 256 { byte % end } else { (byte << 8 | usize::from(self.byte())) % end }
    }

    /// One in so many, with all other bytes.
    pub(super) fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    pub(super) fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The next bytes, as many of so many as there are.
    pub(super) fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Text of all that is left: see [`expand`]. One in eight is what the bytes are.
    pub(super) fn text(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let is_raw = self.is_one_in(8);
        let rest = std::mem::take(&mut self.0);
        if is_raw { rest.to_vec() } else { expand(rest, words) }
    }
}

/// Text in which a byte stands for the word with its number, or for itself if there is none.
pub(super) fn expand(bytes: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        text.extend_from_slice(words.get(usize::from(*byte)).copied().unwrap_or(&[*byte]));
    }
    text
}

/// The places where input is cut: pieces of these lengths, again and again; of one byte if there is none.
pub(super) fn pieces<'b>(bytes: &'b [u8], lengths: &[u8]) -> impl Iterator<Item = &'b [u8]> {
    let (mut rest, mut number) = (bytes, 0);
    std::iter::from_fn(move || {
        let length = lengths.get(number % lengths.len().max(1)).map_or(1, |&length| usize::from(length) + 1);
        number += 1;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
