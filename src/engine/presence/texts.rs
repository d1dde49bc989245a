//! The texts of a room's users: their names, and what is shown of them.
//!
//! All stand in one buffer, so a text costs no allocation of its own.

use super::RoomIsFull;

/// The bytes of the time that stands before an information.
const TIME_BYTES: usize = size_of::<u64>();

/// Where the texts of a user are: the name, and behind it, if there is an information, its time and itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: u32,
    info_len: u16,
    name_len: u8,
}

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Bytes that no user has any more.
    unused: usize,
}

impl Place {
    fn len(self) -> usize {
        let info = usize::from(self.info_len);
        usize::from(self.name_len) + if info > 0 { TIME_BYTES + info } else { 0 }
    }

    /// The whole place, and the part of it that is the name.
    fn ranges(self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let start = self.at as usize;
        (start..start + self.len(), start..start + usize::from(self.name_len))
    }
}

impl Texts {
    /// Adds the texts of a user. An information of no bytes is none.
    ///
    /// # Errors
    /// The buffer is as long as a [`Place`] can say, or a text is longer than any that a client or a node can send.
    pub(super) fn add(&mut self, name: &[u8], (info, time): (&[u8], u64)) -> Result<Place, RoomIsFull> {
        let place = Place {
            at: self.bytes.len().try_into()?,
            info_len: info.len().try_into()?,
            name_len: name.len().try_into()?,
        };
        reserve(&mut self.bytes, place.len());
        self.bytes.extend_from_slice(name);
        if !info.is_empty() {
            self.bytes.extend_from_slice(&time.to_le_bytes());
            self.bytes.extend_from_slice(info);
        }
        Ok(place)
    }

    /// Forgets the texts of a user.
    pub(super) fn remove(&mut self, place: Place) {
        self.unused += place.len();
    }

    pub(super) fn name(&self, place: Place) -> &str {
        text(&self.bytes[place.ranges().1])
    }

    /// The information, and its time.
    pub(super) fn info(&self, place: Place) -> Option<(&str, u64)> {
        let (all, name) = place.ranges();
        let (time, info) = self.bytes[name.end..all.end].split_first_chunk()?;
        Some((text(info), u64::from_le_bytes(*time)))
    }

    /// Copies the texts that are used, and frees the others, if these are a quarter of all.
    pub(super) fn tidy<'p>(&mut self, places: impl Iterator<Item = &'p mut Place>) {
        if 4 * self.unused <= self.bytes.len() {
            return;
        }
        let mut used = Vec::with_capacity(self.bytes.len() - self.unused);
        for place in places {
            let at = used.len() as u32; // not more than it was
            used.extend_from_slice(&self.bytes[place.ranges().0]);
            place.at = at;
        }
        (self.bytes, self.unused) = (used, 0);
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Makes room for more bytes, and a little at once rather than as much again.
fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() < more {
        bytes.reserve_exact(more.max(bytes.len() / super::GROWTH_DIVISOR));
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it was added as a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_was_added_and_little_stays_of_those_that_are_gone() {
        let mut texts = Texts::default();
        let mut places = Vec::new();
        for number in 0..1000_u64 {
            let (name, info) = (format!("user {number}"), if number % 3 == 0 { "\"\u{e4}\"" } else { "" });
            places.push((number, texts.add(name.as_bytes(), (info.as_bytes(), number)).expect("it is short")));
        }
        while !places.is_empty() {
            for &(number, place) in &places {
                assert_eq!(texts.name(place), format!("user {number}"));
                let info = (number % 3 == 0).then_some(("\"\u{e4}\"", number));
                assert_eq!(texts.info(place), info);
            }
            places.drain(..places.len().div_ceil(7)).for_each(|(_, place)| texts.remove(place));
            texts.tidy(places.iter_mut().map(|(_, place)| place));
            let used: usize = places.iter().map(|(_, place)| place.len()).sum();
            assert!(3 * texts.memory() <= 4 * used + 3 * 1024, "{} for {used}", texts.memory());
        }
        assert_eq!(texts.memory(), 0);
    }

    #[test]
    fn what_is_longer_than_any_text_of_a_client_is_not_added() {
        let mut texts = Texts::default();
        assert!(texts.add(&[b'x'; 256], (b"", 0)).is_err());
        assert!(texts.add(b"x", (&[b'1'; 65_536], 0)).is_err());
        assert_eq!(texts.memory(), 0);
        let place = texts.add(&[b'x'; 255], (&[b'1'; 65_535], 7)).expect("it has room");
        assert_eq!((texts.name(place).len(), texts.info(place).map(|(info, _)| info.len())), (255, Some(65_535)));
    }
}
