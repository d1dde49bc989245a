//! From the first byte to the keys, and what else may come instead.

use super::*;
use crate::tls::failure::Cause;

#[test]
fn both_sides_talk_behind_the_handshake_with_every_suite() {
    for suite in SUITES {
        let mut pair = Pair::new(suite);
        pair.client_writes(b"hello");
        assert_eq!(pair.server_reads().unwrap(), b"hello", "{suite:?}");
        let sent = pair.server_writes(b"hello back", usize::MAX).unwrap();
        assert_eq!((sent, &pair.got[..]), (Sent { plaintext: 10, open: 0 }, &b"hello back"[..]), "{suite:?}");
    }
}

#[test]
fn data_right_behind_the_handshake_is_left_for_the_record_layer() {
    for suite in SUITES {
        for piece in [1, 7, 1000, usize::MAX] {
            let mut client = client(&client_config(suite));
            client.writer().write_all(b"early bird").unwrap();
            let mut pair = Pair::establish(client, || piece);
            assert_eq!(pair.server_reads().unwrap(), b"early bird", "{suite:?}, {piece}");
        }
    }
}

#[test]
fn a_resumed_connection_has_keys_of_its_own() {
    for suite in SUITES {
        let config = client_config(suite);
        let mut first = Pair::establish(client(&config), || usize::MAX);
        first.server_writes(b"the ticket came before this", usize::MAX).unwrap();
        let mut second = Pair::establish(client(&config), || usize::MAX);
        assert_eq!(second.client.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{suite:?}");
        for pair in [&mut first, &mut second] {
            // A key update shows that the traffic secrets are this connection's, too.
            if pair.client.refresh_traffic_keys().is_ok() {
                pair.client_writes(b"");
            }
            pair.client_writes(b"hello");
            assert_eq!(pair.server_reads().unwrap(), b"hello");
            pair.server_writes(b"", usize::MAX).unwrap();
            pair.server_writes(b"hello back", usize::MAX).unwrap();
            assert!(pair.got.ends_with(b"hello back"));
        }
    }
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let mut handshake = Handshake::new(&server().1);
    let failure = handshake.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_err();
    assert_eq!(failure.cause(), Cause::Handshake);
    assert_eq!(handshake.output()[..3], [21, 3, 3], "{:?}", handshake.output());
    assert!(!handshake.is_done());
    assert!(handshake.finish().is_err());
}

#[test]
fn a_client_of_another_protocol_is_told_so() {
    let mut config = ServerConfig::clone(&server().1);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut wanted = ClientConfig::clone(&client_config(SUITES[0]));
    wanted.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = client(&Arc::new(wanted));
    let mut handshake = Handshake::new(&Arc::new(config));
    let failure = handshake.receive(&ciphertext(&mut client)).unwrap_err();
    assert!(failure.to_string().starts_with("handshake: "), "{failure}");
    let told = feed(&mut client, handshake.output(), &mut Vec::new()).unwrap_err();
    assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol));
}

#[test]
fn a_record_that_is_announced_too_long_fails_before_it_comes() {
    let mut handshake = Handshake::new(&server().1);
    assert!(handshake.receive(&[22, 3, 1, 0xff, 0xff]).is_err());
}

#[test]
fn a_handshake_that_does_not_end_is_bounded() {
    // Warnings, empty records, and a message in the smallest pieces: what comes first ends it.
    for record in [&[21, 3, 3, 0, 2, 1, 90][..], &[22, 3, 3, 0, 0], &[22, 3, 3, 0, 1, 1], &[20, 3, 3, 0, 1, 1]] {
        let mut handshake = Handshake::new(&server().1);
        let mut records = 0;
        while handshake.receive(record).is_ok() {
            records += 1;
            assert!(records <= 200_000 && handshake.memory() < 300_000, "{record:?}");
        }
    }
}

#[test]
fn a_handshake_of_a_configuration_that_keeps_its_secrets_fails_instead_of_panicking() {
    let mut config = ServerConfig::clone(&server().1);
    config.enable_secret_extraction = false;
    let (config, mut client) = (Arc::new(config), client(&client_config(SUITES[0])));
    let mut handshake = Handshake::new(&config);
    while !handshake.is_done() {
        handshake.receive(&ciphertext(&mut client)).unwrap();
        feed(&mut client, handshake.output(), &mut Vec::new()).unwrap();
        handshake.sent(handshake.output().len());
    }
    assert_eq!(handshake.finish().err().map(|failure| failure.cause()), Some(Cause::Handshake));
}
