//! Records that an honest peer does not send, sealed with the right keys.

use super::*;
use crate::tls::{
    aead::Version,
    failure::{Cause, Failure},
    mirror::{self, Forger, SUITES},
    record::Opened,
};

const CCS: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// What a server says of some records, and its alert.
struct Given {
    result: Result<Opened, Failure>,
    alert: Option<[u8; 2]>,
}

/// Gives a server of each suite these records after one with data.
fn given(version: Version, records: &[(u8, &[u8])]) -> Vec<Given> {
    let suites = SUITES.iter().filter(|suite| suite.version == version);
    let given = suites.map(|suite| {
        let (mut forger, mut server) = (Forger::new(*suite), mirror::pair(*suite).1);
        let mut wire = forger.seal(DATA, b"hello", 0);
        for (kind, content) in records {
            wire.extend(forger.seal(*kind, content, 3));
        }
        let result = server.open(&mut wire);
        let sealed = result.as_ref().err().map(|failure| failure.alert()).filter(|alert| !alert.is_empty());
        let alert = sealed.map(|sealed| {
            let (kind, bytes) = forger.open(sealed).expect("it is sealed");
            assert_eq!(kind, ALERT);
            bytes.try_into().expect("level and description")
        });
        Given { result, alert }
    });
    given.collect()
}

fn assert_fault(version: Version, records: &[(u8, &[u8])], cause: Cause, alert: Option<[u8; 2]>) {
    for given in given(version, records) {
        let found = given.result.expect_err("a fault").cause();
        assert_eq!((found, given.alert), (cause, alert), "{version:?}, {records:?}");
    }
}

fn assert_fine(version: Version, records: &[(u8, &[u8])], is_closed: bool) {
    for given in given(version, records) {
        let opened = given.result.unwrap_or_else(|failure| panic!("{failure}: {version:?}, {records:?}"));
        assert_eq!((opened.plaintext, opened.is_closed), (5, is_closed), "{version:?}, {records:?}");
    }
}

#[test]
fn tls_1_3_has_an_answer_to_each_record_that_must_not_come() {
    use Cause::{Fruitless, PeerAlert, TooLong, Unexpected};
    let large = vec![b'x'; 16_384];
    let check = |records: &[(u8, &[u8])], cause, alert| assert_fault(Version::Tls13, records, cause, alert);
    let unexpected = Some([2, 10]);
    check(&[(CCS, &[1])], Unexpected, unexpected);
    check(&[(0, &[])], Unexpected, unexpected); // padding alone
    check(&[(24, b"heartbeat")], Unexpected, unexpected);
    check(&[(HANDSHAKE, &[])], Unexpected, unexpected);
    check(&[(HANDSHAKE, &[1, 0, 0, 0])], Unexpected, unexpected); // a ClientHello
    check(&[(HANDSHAKE, &KEY_UPDATE[..3])], Unexpected, unexpected);
    check(&[(HANDSHAKE, &[KEY_UPDATE, KEY_UPDATE].concat())], Unexpected, unexpected);
    check(&[(HANDSHAKE, &[24, 0, 0, 1, 2])], Unexpected, Some([2, 47]));
    check(&[(HANDSHAKE, &[24, 0, 0, 0])], Unexpected, unexpected);
    check(&[(ALERT, &[])], Unexpected, Some([2, 50]));
    check(&[(ALERT, &[2, 40, 2, 40])], Unexpected, Some([2, 50]));
    check(&[(ALERT, &[2, 40])], PeerAlert, None);
    check(&[(ALERT, &[1, 40])], PeerAlert, None); // its level does not count
    check(&[(DATA, &large)], TooLong, Some([2, 22])); // by its padding
    check(&[(DATA, &[][..]); 33], Fruitless, unexpected);
    check(&[(ALERT, &[1, 90][..]); 33], Fruitless, unexpected);
}

#[test]
fn tls_1_2_has_an_answer_to_each_record_that_must_not_come() {
    use Cause::{Fruitless, PeerAlert, Renegotiation, TooLong, Unexpected};
    let large = vec![b'x'; 16_385];
    let check = |records: &[(u8, &[u8])], cause, alert| assert_fault(Version::Tls12, records, cause, alert);
    check(&[(CCS, &[1])], Unexpected, Some([2, 10]));
    check(&[(24, b"heartbeat")], Unexpected, Some([2, 10]));
    check(&[(0, b"")], Unexpected, Some([2, 10]));
    check(&[(HANDSHAKE, &[1, 0, 0, 0])], Renegotiation, Some([1, 100]));
    check(&[(HANDSHAKE, &KEY_UPDATE)], Renegotiation, Some([1, 100]));
    check(&[(ALERT, &[2, 40])], PeerAlert, None);
    check(&[(ALERT, &[2, 0])], PeerAlert, None);
    check(&[(ALERT, &[1])], Unexpected, Some([2, 50]));
    check(&[(DATA, &large)], TooLong, Some([2, 22]));
    check(&[(DATA, &[][..]); 33], Fruitless, Some([2, 10]));
    check(&[(ALERT, &[1, 41][..]); 33], Fruitless, Some([2, 10]));
}

#[test]
fn a_few_records_without_data_are_fine_and_a_close_ends_the_reading() {
    for version in [Version::Tls12, Version::Tls13] {
        assert_fine(version, &[(DATA, &[][..]); 32], false);
        assert_fine(version, &[(ALERT, &[1, 90]), (DATA, &[])], false);
        assert_fine(version, &[(ALERT, &[1, 0]), (DATA, b"nobody reads this")], true);
    }
    assert_fine(Version::Tls13, &[(ALERT, &[2, 0])], true);
}

#[test]
fn a_header_that_cannot_be_right_fails_before_its_record_has_come() {
    for suite in SUITES {
        for (header, cause, alert) in [
            ([23, 3, 3, 0x41, 0x01], Cause::TooLong, [2, 22]),
            ([24, 3, 3, 0, 40], Cause::Unexpected, [2, 10]),
            ([b'G', b'E', b'T', b' ', b'/'], Cause::Unexpected, [2, 10]),
        ] {
            let (mut forger, mut server) = (Forger::new(suite), mirror::pair(suite).1);
            let failure = server.open(&mut header.clone()).unwrap_err();
            assert_eq!(failure.cause(), cause, "{suite:?}");
            assert_eq!(forger.open(failure.alert()), Some((ALERT, alert.to_vec())));
        }
        let (_, mut server) = mirror::pair(suite);
        for len in 0..5 {
            assert_eq!(server.open(&mut [23, 3, 3, 0x41, 0x00][..len]).unwrap(), Opened::default());
        }
    }
}

#[test]
fn a_payload_too_short_for_a_tag_is_refused() {
    for suite in SUITES {
        for len in 0..24 {
            let (_, mut server) = mirror::pair(suite);
            let mut record = vec![23, 3, 3, 0, len];
            record.resize(5 + usize::from(len), 7);
            assert_eq!(server.open(&mut record).unwrap_err().cause(), Cause::BadTag, "{suite:?}, {len}");
        }
    }
}

#[test]
fn the_largest_record_and_the_largest_padding_are_taken() {
    for suite in &SUITES[..3] {
        let (mut forger, mut server) = (Forger::new(*suite), mirror::pair(*suite).1);
        for (len, padding) in [(16_384, 0), (1, 16_383), (16_000, 384)] {
            let mut record = forger.seal(DATA, &vec![b'x'; len], padding);
            let opened = server.open(&mut record).unwrap();
            assert_eq!((opened.plaintext, opened.used), (len, record.len()));
        }
    }
}

#[test]
fn key_updates_are_answered_once_and_only_when_asked_for() {
    for suite in &SUITES[..3] {
        let (mut forger, mut server) = (Forger::new(*suite), mirror::pair(*suite).1);
        let mut wire = Vec::new();
        for update in [KEY_UPDATE, KEY_UPDATE_REQUESTED, KEY_UPDATE_REQUESTED] {
            wire.extend(forger.seal(HANDSHAKE, &update, 0));
            forger.update();
        }
        wire.extend(forger.seal(DATA, b"behind three updates", 0));
        let end = forger.seal(HANDSHAKE, &KEY_UPDATE, 0).len();
        assert_eq!(server.open(&mut wire[..end]).unwrap().key_updates, 1);
        assert!(!server.has_output());
        let opened = server.open(&mut wire[end..]).unwrap();
        assert_eq!((opened.key_updates, &wire[end..][..opened.plaintext]), (2, &b"behind three updates"[..]));
        assert!(server.has_output());
        let mut out = Vec::new();
        server.seal(&[], &mut out, 1000).unwrap();
        assert_eq!(server.sent(&out, out.len()), Sent::default());
        assert_eq!(forger.open(&out), Some((HANDSHAKE, KEY_UPDATE.to_vec())));
        assert!(!server.has_output());
    }
}

#[test]
fn a_peer_pays_for_key_updates_with_data() {
    let suite = SUITES[0];
    let (mut forger, mut server) = (Forger::new(suite), mirror::pair(suite).1);
    let mut update = |server: &mut Records, data: usize| {
        let mut wire = Vec::new();
        (0..data).for_each(|_| wire.extend(forger.seal(DATA, b"x", 0)));
        wire.extend(forger.seal(HANDSHAKE, &KEY_UPDATE, 0));
        forger.update();
        server.open(&mut wire).map(|opened| opened.key_updates)
    };
    for _ in 0..100 {
        assert_eq!(update(&mut server, 8).unwrap(), 1);
    }
    for _ in 0..29 {
        assert_eq!(update(&mut server, 0).unwrap(), 1);
    }
    assert_eq!(update(&mut server, 0).unwrap_err().cause(), Cause::KeyUpdates);
}
