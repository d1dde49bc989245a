//! Short writes, key updates of our own, and the guards of the nonce.

use super::*;
use crate::tls::{failure::Cause, mirror};

/// Seals `text`, and lets the socket take `taken` bytes.
fn write(records: &mut Records, text: &[u8], taken: usize) -> (Vec<u8>, Sent) {
    let mut out = Vec::new();
    records.seal(&[IoSlice::new(text)], &mut out, OUT_BYTES_MAX).expect("it can be sealed");
    let taken = taken.min(out.len());
    let sent = records.sent(&out, taken);
    out.truncate(taken);
    (out, sent)
}

/// What a mirror end reads of these bytes.
fn read(records: &mut Records, wire: &[u8]) -> Vec<u8> {
    let mut bytes = wire.to_vec();
    let opened = records.open(&mut bytes).expect("honest records");
    bytes.truncate(opened.plaintext);
    bytes
}

#[test]
fn what_a_connection_keeps_is_its_keys_and_72_bytes() {
    let memory = mirror::SUITES.map(|suite| mirror::pair(suite).1.memory());
    assert_eq!(memory, [72 + 96, 72 + 160, 72 + 128, 72 + 32, 72 + 64, 72 + 64]);
    assert_eq!(size_of::<Records>(), 2 * size_of::<usize>());
}

#[test]
fn a_record_goes_on_at_every_byte_where_the_socket_may_stop() {
    for suite in mirror::SUITES {
        let whole = write(&mut mirror::pair(suite).1, b"some words", usize::MAX).0;
        for stop in 0..=whole.len() {
            let (mut client, mut server) = mirror::pair(suite);
            let (mut wire, sent) = write(&mut server, b"some words", stop);
            let is_whole = stop == whole.len();
            let open = if stop == 0 || is_whole { 0 } else { 10 };
            assert_eq!(sent, Sent { plaintext: if is_whole { 10 } else { 0 }, open });
            // More has come behind it. Nothing of it gets into the open record.
            let rest: &[u8] = if is_whole { b" and more" } else { b"some words and more" };
            wire.extend(write(&mut server, rest, usize::MAX).0);
            assert_eq!(wire[..stop], whole[..stop]);
            assert_eq!(read(&mut client, &wire), b"some words and more", "{suite:?}, {stop}");
        }
    }
}

#[test]
fn an_open_record_whose_plaintext_changed_is_never_finished() {
    for suite in mirror::SUITES {
        for changed in [&b"some wordz"[..], b"some", b""] {
            let (_, mut server) = mirror::pair(suite);
            assert_eq!(write(&mut server, b"some words", 8).1.open, 10);
            let mut out = Vec::new();
            let failure = server.seal(&[IoSlice::new(changed)], &mut out, OUT_BYTES_MAX).unwrap_err();
            assert_eq!((failure.cause(), failure.alert(), &out[..]), (Cause::ChangedPlaintext, &[][..], &[][..]));
            let failure = server.seal(&[IoSlice::new(b"some words")], &mut out, OUT_BYTES_MAX).unwrap_err();
            assert_eq!((failure.cause(), failure.alert(), &out[..]), (Cause::Misuse, &[][..], &[][..]));
        }
    }
}

#[test]
fn records_are_not_sealed_again_before_it_is_known_what_was_sent() {
    let (_, mut server) = mirror::pair(mirror::SUITES[0]);
    let mut out = Vec::new();
    server.seal(&[IoSlice::new(b"one")], &mut out, OUT_BYTES_MAX).unwrap();
    let failure = server.seal(&[IoSlice::new(b"two")], &mut Vec::new(), OUT_BYTES_MAX).unwrap_err();
    assert_eq!((failure.cause(), failure.alert()), (Cause::Misuse, &[][..]));
}

#[test]
fn nothing_follows_a_close_notify() {
    let (mut client, mut server) = mirror::pair(mirror::SUITES[0]);
    let mut out = Vec::new();
    server.close_notify(&mut out);
    assert!(client.open(&mut out).unwrap().is_closed);
    out.clear();
    server.close_notify(&mut out);
    assert!(out.is_empty());
    let wire = write(&mut client, b"it still reads", usize::MAX).0;
    assert_eq!(read(&mut server, &wire), b"it still reads");
    let failure = server.seal(&[IoSlice::new(b"x")], &mut out, OUT_BYTES_MAX).unwrap_err();
    assert_eq!((failure.cause(), failure.alert(), out.len()), (Cause::Misuse, &[][..], 0));
}

#[test]
fn no_close_notify_is_put_into_an_open_record() {
    let (_, mut server) = mirror::pair(mirror::SUITES[0]);
    write(&mut server, b"some words", 8);
    let mut out = Vec::new();
    server.close_notify(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_key_is_changed_long_before_it_is_worn_out() {
    for suite in &mirror::SUITES[..3] {
        for stop in [0, 1, 10, 26, usize::MAX] {
            let (mut client, mut server) = mirror::pair(*suite);
            client.skip_reading_to((1 << 23) - 1);
            server.skip_writing_to((1 << 23) - 1);
            let mut wire = write(&mut server, b"one ", usize::MAX).0;
            assert!(!server.has_output(), "an idle connection is not woken for it");
            let (bytes, sent) = write(&mut server, b"two ", stop);
            assert_eq!(sent, Sent::default(), "the KeyUpdate has a write of its own");
            wire.extend(bytes);
            // The socket takes 7 bytes at a time, of the KeyUpdate and of the record behind it.
            let mut rest = 4;
            while rest > 0 {
                let (bytes, sent) = write(&mut server, b"two ", 7);
                wire.extend(bytes);
                rest -= sent.plaintext;
            }
            assert_eq!(read(&mut client, &wire), b"one two ", "{suite:?}, {stop}");
        }
    }
}

#[test]
fn a_key_of_tls_1_2_that_is_worn_out_ends_the_connection_in_order() {
    for suite in &mirror::SUITES[3..5] {
        let (mut client, mut server) = mirror::pair(*suite);
        client.skip_reading_to((1 << 24) - 1);
        server.skip_writing_to((1 << 24) - 1);
        let text = vec![b'x'; 20_000];
        let (wire, sent) = write(&mut server, &text, usize::MAX);
        assert_eq!(sent, Sent { plaintext: 16_384, open: 0 });
        assert_eq!(read(&mut client, &wire).len(), 16_384);
        let mut out = Vec::new();
        let failure = server.seal(&[IoSlice::new(&text)], &mut out, OUT_BYTES_MAX).unwrap_err();
        assert_eq!((failure.cause(), out.len()), (Cause::KeyWornOut, 0));
        assert!(client.open(&mut failure.alert().to_vec()).unwrap().is_closed);
    }
}

#[test]
fn nothing_is_written_when_there_is_nothing_to_write() {
    let (_, mut server) = mirror::pair(mirror::SUITES[0]);
    assert_eq!(write(&mut server, b"", usize::MAX), (Vec::new(), Sent::default()));
    assert_eq!(write(&mut server, b"", usize::MAX), (Vec::new(), Sent::default()));
}
