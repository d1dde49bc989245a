//! Decisions taken from bytes, so that a fuzzer can change them one by one.

/// Bytes that have not decided anything yet. When none are left, every decision is the first choice.
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

    /// A number below `end`, which is 1 to 65536.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let byte = usize::from(self.byte());
        if end <= 256 { byte % end } else { (byte << 8 | usize::from(self.byte())) % end }
    }

    /// True for one in `count` byte values.
    pub(super) fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    pub(super) fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The next `count` bytes, or as many as there are.
    pub(super) fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Text made of all remaining bytes: see [`expand`]. One time in eight it is the bytes themselves.
    pub(super) fn text(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let is_raw = self.is_one_in(8);
        let rest = std::mem::take(&mut self.0);
        if is_raw { rest.to_vec() } else { expand(rest, words) }
    }
}

/// Text in which each byte stands for the word of that number, or for itself if there is no such word.
pub(super) fn expand(bytes: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        text.extend_from_slice(words.get(usize::from(*byte)).copied().unwrap_or(&[*byte]));
    }
    text
}

/// Cuts the input into pieces of these lengths, repeated; into single bytes if there are no lengths.
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
