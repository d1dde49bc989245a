//! From when until when a certificate is valid (RFC 5280 §4.1.2.5). Webpki, which checks certificates for rustls, tells
//! these times to nobody.

use der::{
    Decode, Reader, SliceReader, Tag, TagNumber, Tagged,
    asn1::{AnyRef, GeneralizedTime, UtcTime},
};

/// The times of a certificate, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// The times of a certificate, given as DER.
    ///
    /// # Errors
    /// It is not a certificate, or a time is before 1970.
    pub(super) fn of(certificate: &[u8]) -> der::Result<Self> {
        let mut outer = SliceReader::new(sequence(&mut SliceReader::new(certificate)?)?)?;
        let mut fields = SliceReader::new(sequence(&mut outer)?)?;
        // The version, which a certificate of version 1 leaves out.
        if fields.peek_tag()? == (Tag::ContextSpecific { constructed: true, number: TagNumber::N0 }) {
            AnyRef::decode(&mut fields)?;
        }
        for _serial_number_signature_algorithm_issuer in 0..3 {
            AnyRef::decode(&mut fields)?;
        }
        let mut times = SliceReader::new(sequence(&mut fields)?)?;
        let validity = Self { not_before: time(&mut times)?, not_after: time(&mut times)? };
        times.finish(validity)
    }
}

/// The contents of the SEQUENCE that comes next.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    match any.tag() {
        Tag::Sequence => Ok(any.value()),
        tag => Err(tag.unexpected_error(Some(Tag::Sequence))),
    }
}

/// The time that comes next: of two digits for the year until 2049, of four from then on.
fn time(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    let since_epoch = match reader.peek_tag()? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_unix_duration(),
        _ => GeneralizedTime::decode(reader)?.to_unix_duration(),
    };
    Ok(since_epoch.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate that is valid from one day, as (year, month, day), until another.
    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_times_are_those_that_the_certificate_was_made_with() {
        for (from, until) in
            [((1970, 1, 2), (2049, 12, 31)), ((2026, 11, 30), (2050, 1, 1)), ((2050, 1, 1), (9999, 12, 31))]
        {
            let seconds = |(year, month, day)| date_time_ymd(year, month, day).unix_timestamp() as u64;
            let validity = Validity { not_before: seconds(from), not_after: seconds(until) };
            assert_eq!(Validity::of(&certificate(from, until)), Ok(validity));
        }
    }

    #[test]
    fn a_certificate_that_is_cut_short_has_no_times() {
        let certificate = certificate((2026, 1, 1), (2027, 1, 1));
        for end in 0..certificate.len() {
            assert!(Validity::of(&certificate[..end]).is_err(), "{end}");
        }
    }

    static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| certificate((2026, 1, 1), (2027, 1, 1)));

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            at in 0..300_usize,
            with in proptest::collection::vec(any::<u8>(), 1..8),
            random in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Validity::of(&random);
            let mut spoiled = CERTIFICATE.clone();
            let end = (at + with.len()).min(spoiled.len());
            let at = at.min(end);
            spoiled[at..end].copy_from_slice(&with[..end - at]);
            let _ = Validity::of(&spoiled);
        }
    }
}
