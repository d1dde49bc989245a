//! Texts for C, with a NUL behind them, that live as long as a callback.

use std::ffi::c_char;

/// Bytes of one piece of memory for texts; one piece stays for the next callback.
const PIECE_BYTES: usize = 4 << 10;

/// Copies of texts. They never move: a text that does not fit the last piece of memory goes to a new one.
pub(super) struct Texts {
    pieces: Vec<Vec<u8>>,
}

impl Texts {
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Copies a text, adds a NUL, and gives the copy. It does not move until [`Texts::clear`].
    pub(super) fn keep(&mut self, text: &str) -> *const c_char {
        let bytes = text.len() + 1;
        let room = self.pieces.last().map_or(0, |piece| piece.capacity() - piece.len());
        if room < bytes {
            self.pieces.push(Vec::with_capacity(bytes.max(PIECE_BYTES)));
        }
        let piece = self.pieces.last_mut().expect("one was pushed if there was none");
        let start = piece.len();
        piece.extend_from_slice(text.as_bytes());
        piece.push(0);
        piece[start..].as_ptr().cast()
    }

    /// Forgets all texts.
    pub(super) fn clear(&mut self) {
        self.pieces.truncate(1);
        self.pieces.iter_mut().for_each(Vec::clear);
        if self.pieces.first().is_some_and(|piece| piece.capacity() > PIECE_BYTES) {
            self.pieces.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn texts_stay_as_they_are_while_others_come() {
        let mut texts = Texts::new();
        for round in 0..3 {
            let long = "x".repeat(PIECE_BYTES * round);
            let all: Vec<String> = (0..2000).map(|number| format!("{number}µ")).chain([long, String::new()]).collect();
            let kept: Vec<_> = all.iter().map(|text| texts.keep(text)).collect();
            for (text, kept) in all.iter().zip(kept) {
                // SAFETY: they were kept and not yet cleared.
                assert_eq!(unsafe { CStr::from_ptr(kept) }.to_str().unwrap(), text);
            }
            texts.clear();
            assert!(texts.pieces.iter().map(Vec::capacity).sum::<usize>() <= PIECE_BYTES);
        }
    }
}
