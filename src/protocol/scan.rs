//! Finds the end of a word eight bytes at a time. Heads are short, so this beats both a loop over bytes and the set-up
//! of wider vectors.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The number of leading bytes that a header's value may contain: no control characters except tabs.
pub(crate) fn value_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += leading(&bytes[at..], |word| below(word, 0x20) | equal(word, 0x7f), |byte| byte >= 0x20 && byte != 0x7f);
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// The number of leading bytes that are visible ASCII.
pub(crate) fn graphic_len(bytes: &[u8]) -> usize {
    leading(bytes, |word| below(word, 0x21) | equal(word, 0x7f) | (word & HIGHS), |byte| byte.is_ascii_graphic())
}

/// The number of leading bytes up to the first space or tab.
pub(crate) fn word_len(bytes: &[u8]) -> usize {
    leading(bytes, |word| equal(word, b' ') | equal(word, b'\t'), |byte| byte != b' ' && byte != b'\t')
}

/// The number of leading bytes up to the first carriage return.
pub(crate) fn before_cr(bytes: &[u8]) -> usize {
    leading(bytes, |word| equal(word, b'\r'), |byte| byte != b'\r')
}

/// The number of leading bytes for which `good` holds. `stops` marks the high bit of each byte of a word for which
/// `good` does not hold. Marks above the lowest one may be wrong.
fn leading(bytes: &[u8], stops: impl Fn(u64) -> u64, good: impl Fn(u8) -> bool) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = stops(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    bytes.len() - tail.len() + tail.iter().position(|&byte| !good(byte)).unwrap_or(tail.len())
}

/// Marks bytes below `limit`, which is at most 128. A borrow can mark a byte wrongly only above a byte that is marked
/// correctly.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS
}

/// Marks bytes equal to `byte`, as [`below`] does.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_end_where_a_loop_over_bytes_ends_them(bytes in proptest::collection::vec(prop_oneof![
            4 => 0x20u8..0x7f, 1 => any::<u8>(), 1 => prop_oneof![Just(b'\t'), Just(b' '), Just(0x7f), Just(0x80), Just(b'\r')],
        ], 0..40)) {
            let naive = |good: fn(u8) -> bool| bytes.iter().position(|&byte| !good(byte)).unwrap_or(bytes.len());
            prop_assert_eq!(value_len(&bytes), naive(crate::protocol::message::is_value_byte));
            prop_assert_eq!(graphic_len(&bytes), naive(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(word_len(&bytes), naive(|byte| byte != b' ' && byte != b'\t'));
            prop_assert_eq!(before_cr(&bytes), naive(|byte| byte != b'\r'));
        }
    }
}
