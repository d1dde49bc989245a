//! A client with the right keys that sends what no honest one does, for tests and fuzzing.

use super::{
    aead::{Content, Suite, Version},
    keys::{Direction, Kept},
    mirror,
};

/// A client that seals anything, for the server of [`mirror::pair`].
pub(crate) struct Forger(Kept<()>);

impl Forger {
    pub(crate) fn new(suite: Suite) -> Self {
        Self(mirror::end(suite, true, |read, write| Kept::new(suite, read, write, ())))
    }

    /// A record with this content, type and padding, which only TLS 1.3 has.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let (mut record, key) = (Vec::new(), self.0.schedule(Direction::Write));
        let sequence = self.0.sequence(Direction::Write);
        if padding > 0 && self.0.suite().version == Version::Tls13 {
            // The last byte of the padding stands where the type would.
            key.seal(sequence, Content(0), content.len() + padding, &mut record, |out| {
                out.extend_from_slice(content);
                out.push(kind);
                out.resize(out.len() + padding - 1, 0);
            });
        } else {
            key.seal(sequence, Content(kind), content.len(), &mut record, |out| out.extend_from_slice(content));
        }
        self.0.count(Direction::Write);
        record
    }

    /// Goes on with the next key, as after a KeyUpdate.
    pub(crate) fn update(&mut self) {
        self.0.update(Direction::Write);
    }

    /// The type and content of a record of the server's.
    #[cfg(test)]
    pub(crate) fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        use super::aead::HEADER_BYTES;

        let header = *record.first_chunk::<HEADER_BYTES>()?;
        let (mut bytes, key) = (record.to_vec(), self.0.schedule(Direction::Read));
        let len = key.open(self.0.sequence(Direction::Read), header, &mut bytes, HEADER_BYTES)?;
        self.0.count(Direction::Read);
        bytes.truncate(len);
        let kind = if self.0.suite().version == Version::Tls13 { bytes.pop()? } else { header[0] };
        Some((kind, bytes))
    }
}
