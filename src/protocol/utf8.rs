//! Checks UTF-8 piece by piece: a text message may be cut anywhere, also inside a character (RFC 6455 §8.1).

/// The state between two pieces: the bytes of an incomplete character.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    pending: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Takes the next piece. Returns false as soon as no continuation could make the text valid.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return true };
            self.pending[usize::from(self.len)] = byte;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.pending[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        if simdutf8::basic::from_utf8(piece).is_ok() {
            return true;
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.pending[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                true
            }
        }
    }

    /// Whether the text may end here, that is, not inside a character.
    pub(crate) fn is_complete(self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_get_the_same_verdict_as_the_whole_text(
            text in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..12),
                proptest::collection::vec(prop_oneof![Just(0xf0u8), Just(0x9f), Just(0x98), Just(0x80), Just(b'a')], 0..12),
            ],
            cuts in proptest::collection::vec(0usize..40, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut utf8 = Utf8::default();
            let fed = cuts.windows(2).all(|cut| utf8.feed(&text[cut[0]..cut[1]]));
            prop_assert_eq!(fed && utf8.is_complete(), std::str::from_utf8(&text).is_ok());
        }
    }

    #[test]
    fn an_invalid_start_of_a_character_fails_before_its_end() {
        let mut utf8 = Utf8::default();
        assert!(utf8.feed(&[0xf4]));
        assert!(!utf8.feed(&[0x90]), "above U+10FFFF already");
    }
}
