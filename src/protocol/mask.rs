//! The mask of a client's frames (RFC 6455 §5.3): four bytes, repeated over the payload.

/// A bit that no ASCII byte has set, in each byte of a word.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

/// Removes the mask from a payload, in place. Returns whether the payload is ASCII, since its bytes are at hand: most
/// text is ASCII, and needs no further UTF-8 check.
#[inline]
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) -> bool {
    let wide = wide(mask);
    let mut seen = 0;
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    let (half, tail) = tail.as_chunks_mut::<4>();
    for word in half {
        let plain = u32::from_le_bytes(*word) ^ wide as u32;
        seen |= u64::from(plain);
        *word = plain.to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & NOT_ASCII == 0
}

/// As [`unmask`], from one place to another; both have the same length.
#[inline(never)] // when inlined, the compiler does not know that the places are apart, and does not vectorise the loop
pub(crate) fn unmask_into(out: &mut [u8], masked: &[u8], mask: [u8; 4]) -> bool {
    let wide = wide(mask);
    let mut seen = 0;
    for (to, from) in out.as_chunks_mut::<8>().0.iter_mut().zip(masked.as_chunks::<8>().0) {
        let plain = u64::from_le_bytes(*from) ^ wide;
        seen |= plain;
        *to = plain.to_le_bytes();
    }
    if let (Some(to), Some(from)) = (out.last_chunk_mut::<8>(), masked.last_chunk::<8>()) {
        // The tail, together with some bytes before it; those come out as they did above.
        let plain = u64::from_le_bytes(*from) ^ turned(wide, masked.len());
        seen |= plain;
        *to = plain.to_le_bytes();
    } else {
        for ((to, from), key) in out.iter_mut().zip(masked).zip(mask.iter().cycle()) {
            *to = from ^ key;
            seen |= u64::from(*to);
        }
    }
    seen & NOT_ASCII == 0
}

/// Whether a masked payload starts with `head`. Always false if `head` has fewer than eight bytes.
///
/// Compares the end of `head` first, because the channel is there and tells most heads apart. It reads the masked
/// bytes: bytes that were just unmasked, and so written in small pieces, are slow to read in larger ones.
#[inline]
pub(crate) fn starts_with(masked: &[u8], mask: [u8; 4], head: &[u8]) -> bool {
    let wide = wide(mask);
    let Some(masked) = masked.get(..head.len()) else { return false };
    let (Some(masked_end), Some(end)) = (masked.last_chunk::<8>(), head.last_chunk::<8>()) else { return false };
    let mut words = masked.as_chunks::<8>().0.iter().zip(head.as_chunks::<8>().0);
    u64::from_le_bytes(*masked_end) ^ turned(wide, head.len()) == u64::from_le_bytes(*end)
        && words.all(|(masked, plain)| u64::from_le_bytes(*masked) ^ wide == u64::from_le_bytes(*plain))
}

/// The mask as it applies to what follows the first `len` bytes of a payload.
pub(crate) fn turned_by(mut mask: [u8; 4], len: usize) -> [u8; 4] {
    mask.rotate_left(len % 4);
    mask
}

/// The mask twice, for the first word of a payload.
fn wide(mask: [u8; 4]) -> u64 {
    let narrow = u64::from(u32::from_le_bytes(mask));
    narrow << 32 | narrow
}

/// The mask as it applies to the last word of a payload of `len` bytes.
fn turned(wide: u64, len: usize) -> u64 {
    wide.rotate_right(8 * (len as u32 % 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_way_to_unmask_agrees_with_the_rfc_byte_by_byte(
            masked in proptest::collection::vec(any::<u8>(), 0..200),
            mask: [u8; 4],
            is_ascii: bool,
        ) {
            let mut masked = masked;
            if is_ascii {
                masked.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte = *byte & 0x7f ^ key);
            }
            let plain: Vec<u8> = masked.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let (mut in_place, mut elsewhere) = (masked.clone(), vec![0xff; masked.len()]);
            prop_assert_eq!(unmask(&mut in_place, mask), plain.is_ascii());
            prop_assert_eq!(unmask_into(&mut elsewhere, &masked, mask), plain.is_ascii());
            prop_assert_eq!(&in_place, &plain);
            let at = masked.len() / 3;
            unmask(&mut masked[at..], turned_by(mask, at));
            prop_assert_eq!(&masked[at..], &plain[at..]);
            prop_assert_eq!(&elsewhere, &plain);
        }

        #[test]
        fn a_head_is_recognised_by_every_byte_of_it(
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            mask: [u8; 4],
            len in 8usize..80,
            wrong in proptest::option::of((0usize..80, 1u8..)),
        ) {
            let masked: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let mut head = payload.clone();
            head.resize(len, b'x');
            if let Some((at, difference)) = wrong {
                head[at % len] ^= difference;
            }
            prop_assert_eq!(starts_with(&masked, mask, &head), payload.starts_with(&head));
        }
    }
}
