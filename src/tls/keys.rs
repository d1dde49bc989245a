//! What a connection keeps of its keys: raw bytes, in one allocation of the suite's size, zeroed when it is dropped.

use zeroize::Zeroize;

use super::aead::{Cipher, Schedule, Suite, Version};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// What an established connection starts with, in one direction.
pub(super) struct Start<'k> {
    pub(super) key: &'k [u8],
    pub(super) iv: [u8; 12],
    /// The traffic secret of TLS 1.3; empty in TLS 1.2.
    pub(super) secret: &'k [u8],
    /// The number of the next record.
    pub(super) sequence: u64,
}

/// Keys, secrets and numbers of both directions, and `T`, which lies in the same allocation.
///
/// `material` holds for each direction its key and its secret: 2 × 48 bytes for AES-128 of TLS 1.3, 2 × 80 for AES-256,
/// 2 × 16 for AES-128 of TLS 1.2.
pub(super) struct Keys<T, M: ?Sized + Zeroize = [u8]> {
    pub(super) rest: T,
    sequences: [u64; 2],
    ivs: [[u8; 12]; 2],
    suite: Suite,
    material: M,
}

impl<T> Keys<T> {
    /// `None` if a key or secret has not the suite's length.
    pub(super) fn new(suite: Suite, read: Start<'_>, write: Start<'_>, rest: T) -> Option<Box<Self>> {
        let mut keys: Box<Self> = match (suite.version, suite.cipher) {
            (Version::Tls12, Cipher::Aes128Gcm) => Self::zeroed::<32>(suite, rest),
            (Version::Tls12, _) => Self::zeroed::<64>(suite, rest),
            (Version::Tls13, Cipher::Aes128Gcm) => Self::zeroed::<96>(suite, rest),
            (Version::Tls13, Cipher::ChaCha20Poly1305) => Self::zeroed::<128>(suite, rest),
            (Version::Tls13, Cipher::Aes256Gcm) => Self::zeroed::<160>(suite, rest),
        };
        for (direction, start) in [(Direction::Read, read), (Direction::Write, write)] {
            let (key, secret) = keys.material(direction);
            if key.len() != start.key.len() || secret.len() != start.secret.len() {
                return None;
            }
            key.copy_from_slice(start.key);
            secret.copy_from_slice(start.secret);
            keys.ivs[direction as usize] = start.iv;
            keys.sequences[direction as usize] = start.sequence;
        }
        Some(keys)
    }

    /// Makes the allocation first, so that no key passes over the stack.
    fn zeroed<const N: usize>(suite: Suite, rest: T) -> Box<Self> {
        Box::new(Keys { rest, sequences: [0; 2], ivs: [[0; 12]; 2], suite, material: [0; N] })
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// The number of the next record.
    pub(super) fn sequence(&self, direction: Direction) -> u64 {
        self.sequences[direction as usize]
    }

    /// Counts a record. Its number is never used again with this key.
    pub(super) fn count(&mut self, direction: Direction) {
        self.sequences[direction as usize] += 1;
    }

    /// Goes to a number that a test would take days to reach, or back.
    #[cfg(any(test, feature = "bench"))]
    pub(super) fn set_sequence(&mut self, direction: Direction, sequence: u64) {
        self.sequences[direction as usize] = sequence;
    }

    /// The key with its schedule, for one read or write.
    pub(super) fn schedule(&mut self, direction: Direction) -> Schedule {
        let (suite, iv) = (self.suite, self.ivs[direction as usize]);
        let (key, _) = self.material(direction);
        Schedule::new(suite, key, iv)
    }

    /// Goes on with the next key, from record 0.
    pub(super) fn update(&mut self, direction: Direction) {
        let (suite, mut iv) = (self.suite, [0; 12]);
        let (key, secret) = self.material(direction);
        suite.update(secret, key, &mut iv);
        self.ivs[direction as usize] = iv;
        self.sequences[direction as usize] = 0;
    }

    /// A direction's key and secret.
    fn material(&mut self, direction: Direction) -> (&mut [u8], &mut [u8]) {
        let middle = self.material.len() / 2;
        let (read, write) = self.material.split_at_mut(middle);
        let own = if direction == Direction::Read { read } else { write };
        own.split_at_mut(self.suite.key_len())
    }
}

impl<T, M: ?Sized + Zeroize> Keys<T, M> {
    /// Overwrites all that is secret.
    fn clear(&mut self) {
        self.material.zeroize();
        self.ivs.zeroize();
    }
}

impl<T, M: ?Sized + Zeroize> Drop for Keys<T, M> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_keys_are_zeros() {
        let suite = Suite { version: Version::Tls13, cipher: Cipher::Aes256Gcm };
        let start = || Start { key: &[1; 32], iv: [2; 12], secret: &[3; 48], sequence: 4 };
        let mut keys = Keys::new(suite, start(), start(), ()).expect("good lengths");
        assert!(keys.material.iter().all(|byte| *byte != 0));
        keys.clear(); // as `drop` does
        assert!(keys.material.iter().all(|byte| *byte == 0));
        assert_eq!(keys.ivs, [[0; 12]; 2]);
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        let suite = Suite { version: Version::Tls13, cipher: Cipher::Aes128Gcm };
        let start = |key, secret| Start { key, iv: [2; 12], secret, sequence: 0 };
        let good = || start(&[1; 16], &[3; 32]);
        assert!(Keys::new(suite, good(), good(), ()).is_some());
        assert!(Keys::new(suite, good(), start(&[1; 32], &[3; 32]), ()).is_none());
        assert!(Keys::new(suite, start(&[1; 16], &[]), good(), ()).is_none());
    }
}
