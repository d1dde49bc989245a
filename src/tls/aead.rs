//! One cipher suite's way to seal and open a record: nonce, additional data and layout (RFC 8446 §5.2, RFC 5288,
//! RFC 7905). ring does the cryptography.

use ring::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};

/// Bytes of a record's header: type, version, length.
pub(super) const HEADER_BYTES: usize = 5;

/// Bytes of every suite's tag, at the end of a record.
pub(super) const TAG_BYTES: usize = 16;

/// The bytes of a TLS 1.2 AES-GCM record that carry its nonce.
const EXPLICIT_NONCE_BYTES: usize = 8;

/// The legacy version in every record.
const RECORD_VERSION: [u8; 2] = [3, 3];

/// The kind of content in a record (RFC 8446 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content(pub(super) u8);

impl Content {
    pub(super) const CHANGE_CIPHER_SPEC: Self = Self(20);
    pub(super) const ALERT: Self = Self(21);
    pub(super) const HANDSHAKE: Self = Self(22);
    pub(super) const DATA: Self = Self(23);
}

/// The version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// The cipher of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// All that decides how a record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(super) version: Version,
    pub(super) cipher: Cipher,
}

impl Suite {
    /// Bytes of one direction's key.
    pub(super) fn key_len(self) -> usize {
        self.algorithm().key_len()
    }

    /// Bytes of one direction's traffic secret. TLS 1.2 has none.
    pub(super) fn secret_len(self) -> usize {
        match (self.version, self.cipher) {
            (Version::Tls12, _) => 0,
            (Version::Tls13, Cipher::Aes256Gcm) => 48,
            (Version::Tls13, _) => 32,
        }
    }

    /// Bytes between header and plaintext.
    pub(super) fn prefix_len(self) -> usize {
        match (self.version, self.cipher) {
            (Version::Tls13, _) | (Version::Tls12, Cipher::ChaCha20Poly1305) => 0,
            (Version::Tls12, _) => EXPLICIT_NONCE_BYTES,
        }
    }

    /// Bytes that a record adds to its plaintext, without its header.
    pub(super) fn overhead(self) -> usize {
        self.prefix_len() + usize::from(self.version == Version::Tls13) + TAG_BYTES
    }

    /// The most records that may be sealed with one key. For AES-GCM it is a round number below the limit of RFC 8446
    /// §5.5, 2^24.5 full records. ChaCha20-Poly1305 has no limit in practice.
    pub(super) fn records_max(self) -> u64 {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => 1 << 24,
            Cipher::ChaCha20Poly1305 => 1 << 60,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self.cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// The hash of a TLS 1.3 suite.
    fn hkdf(self) -> hkdf::Algorithm {
        match self.cipher {
            Cipher::Aes256Gcm => hkdf::HKDF_SHA384,
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }

    /// Replaces a traffic secret, its key and its iv by their next generation (RFC 8446 §7.2).
    pub(super) fn update(self, secret: &mut [u8], key: &mut [u8], iv: &mut [u8]) {
        let current = hkdf::Prk::new_less_safe(self.hkdf(), secret);
        expand_label(&current, b"tls13 traffic upd", secret);
        self.derive(secret, key, iv);
    }

    /// The key and iv of a traffic secret (RFC 8446 §7.3).
    fn derive(self, secret: &[u8], key: &mut [u8], iv: &mut [u8]) {
        let secret = hkdf::Prk::new_less_safe(self.hkdf(), secret);
        expand_label(&secret, b"tls13 key", key);
        expand_label(&secret, b"tls13 iv", iv);
    }
}

/// HKDF-Expand-Label of RFC 8446 §7.1, with an empty context.
fn expand_label(secret: &hkdf::Prk, label: &[u8], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let len = out.len();
    let info = [&(len as u16).to_be_bytes()[..], &[label.len() as u8], label, &[0]];
    let expanded = secret.expand(&info, Len(len)).and_then(|okm| okm.fill(out));
    expanded.expect("far shorter than 255 hashes");
}

/// One direction's key with its schedule. It is made for one read or one write and dropped: it is three times as large as
/// all that a connection keeps.
pub(super) struct Schedule {
    suite: Suite,
    iv: [u8; 12],
    key: LessSafeKey,
}

impl Schedule {
    pub(super) fn new(suite: Suite, key: &[u8], iv: [u8; 12]) -> Self {
        let key = UnboundKey::new(suite.algorithm(), key).expect("a key of the suite's length");
        Self { suite, iv, key: LessSafeKey::new(key) }
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// Appends one record. `push` appends its plaintext, which has `len` bytes.
    pub(super) fn seal(
        &self,
        sequence: u64,
        content: Content,
        len: usize,
        out: &mut Vec<u8>,
        push: impl FnOnce(&mut Vec<u8>),
    ) {
        let nonce = self.nonce(sequence);
        let is_tls13 = self.suite.version == Version::Tls13;
        let length = ((len + self.suite.overhead()) as u16).to_be_bytes();
        let outer = if is_tls13 { Content::DATA } else { content };
        let header = [outer.0, RECORD_VERSION[0], RECORD_VERSION[1], length[0], length[1]];
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce[12 - self.suite.prefix_len()..]);
        let start = out.len();
        push(out);
        debug_assert_eq!(out.len() - start, len, "the plaintext has another length than its record says");
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = if is_tls13 {
            out.push(content.0);
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..])
        } else {
            let aad = tls12_aad(sequence, header, len);
            self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[start..])
        };
        out.extend_from_slice(sealed.expect("a record is far shorter than a cipher's limit").as_ref());
    }

    /// Opens the record with this header. Its payload starts at `payload` in `bytes` and ends with them. The plaintext
    /// moves to the front of `bytes`; the result is its length, or `None` if the tag is wrong.
    pub(super) fn open(
        &self,
        sequence: u64,
        header: [u8; HEADER_BYTES],
        bytes: &mut [u8],
        payload: usize,
    ) -> Option<usize> {
        let prefix = self.suite.prefix_len();
        let len = (bytes.len() - payload).checked_sub(prefix + TAG_BYTES)?;
        let mut nonce = self.nonce(sequence);
        let sealed = payload + prefix;
        nonce[12 - prefix..].copy_from_slice(&bytes[payload..sealed]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = match self.suite.version {
            Version::Tls13 => self.key.open_within(nonce, Aad::from(header), bytes, sealed..),
            Version::Tls12 => self.key.open_within(nonce, Aad::from(tls12_aad(sequence, header, len)), bytes, sealed..),
        };
        opened.ok().map(|plaintext| plaintext.len())
    }

    /// The sequence number, combined with the iv (RFC 8446 §5.3): another one for every record of a key.
    fn nonce(&self, sequence: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// RFC 5246 §6.2.3.3.
fn tls12_aad(sequence: u64, header: [u8; HEADER_BYTES], len: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&(len as u16).to_be_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of rustls, which took the values from OpenSSL.
    #[test]
    fn a_key_and_iv_come_from_their_secret() {
        const SECRET: [u8; 32] = [
            0xc1, 0x4a, 0x6d, 0x79, 0x76, 0xd8, 0x10, 0x2b, 0x5a, 0x0c, 0x99, 0x51, 0x49, 0x3f, 0xee, 0x87, 0xdc, 0xaf,
            0xf8, 0x2c, 0x24, 0xca, 0xb2, 0x14, 0xe8, 0xbe, 0x71, 0xa8, 0x20, 0x6d, 0xbd, 0xa5,
        ];
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        Suite { version: Version::Tls13, cipher: Cipher::Aes128Gcm }.derive(&SECRET, &mut key, &mut iv);
        assert_eq!(
            key,
            [0xcc, 0x9f, 0x5f, 0x98, 0x0b, 0x5f, 0x10, 0x30, 0x6c, 0xba, 0xd7, 0xbe, 0x98, 0xd7, 0x57, 0x2e]
        );
        assert_eq!(iv, [0xb8, 0x09, 0x29, 0xe8, 0xd0, 0x2c, 0x70, 0xf6, 0x11, 0x62, 0xed, 0x6b]);
    }

    #[test]
    fn no_two_records_of_a_key_have_the_same_nonce() {
        let suite = Suite { version: Version::Tls12, cipher: Cipher::Aes256Gcm };
        let schedule = Schedule::new(suite, &[7; 32], [0xa5; 12]);
        let numbers = (0..64).map(|shift| 1_u64 << shift).chain(0..1000);
        let mut nonces: Vec<[u8; 12]> = numbers.map(|number| schedule.nonce(number)).collect();
        let count = nonces.len() - 10; // 1, 2, 4 … 512 came twice
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), count);
    }
}
