//! The records against rustls as the server.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

use proptest::prelude::*;
use rustls::{
    ServerConfig, ServerConnection, SupportedCipherSuite,
    crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::*;

fn server_config(suite: SupportedCipherSuite) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("a key");
    let provider = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().expect("a suite").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![CertificateDer::from(made.cert)], key).expect("they match");
    config.ticketer = provider::Ticketer::new().expect("a ticketer");
    config.send_tls13_tickets = 1;
    Arc::new(config)
}

/// A client and a server whose handshake is over, connected by memory.
fn established(client: &TlsClient, config: &Arc<ServerConfig>) -> (Records, ServerConnection, bool) {
    let mut server = ServerConnection::new(Arc::clone(config)).expect("a server");
    let mut tls = client.session().expect("a session");
    for _ in 0..4 {
        let mut sent: &[u8] = &std::mem::take(&mut tls.unsent);
        while !sent.is_empty() {
            server.read_tls(&mut sent).expect("memory");
            server.process_new_packets().expect("the client is right");
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("memory");
        }
        let State::Handshake(handshake) = &mut tls.state else { panic!("not settled yet") };
        let opened = advance(handshake, &mut answer).expect("the server is right");
        assert_eq!((opened.plaintext, opened.used), (0, answer.len()));
        tls.collect().expect("memory");
    }
    tls.settle().expect("the handshake is over");
    let State::Established(records) = tls.state else { panic!("settled") };
    (*records, server, tls.is_resumed)
}

/// What the server sends for these writes.
fn sealed_by_rustls(server: &mut ServerConnection, writes: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for bytes in writes {
        server.writer().write_all(bytes).expect("memory");
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
    }
    wire
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn records_are_those_of_rustls_however_they_are_cut(
        writes in prop::collection::vec((any::<u8>(), prop_oneof![1_usize..100, 16_000_usize..40_000]), 1..12),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let (mut records, mut server, _) = established(&TlsClient::new().unwrap(), &server_config(TLS13_AES_128_GCM_SHA256));
        let writes: Vec<Vec<u8>> = writes.iter().map(|(byte, length)| vec![*byte; *length]).collect();
        let wanted = writes.concat();
        // Down: the rest of a cut record stands before what comes next.
        let wire = sealed_by_rustls(&mut server, &writes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([0, wire.len()]).collect();
        cuts.sort_unstable();
        let (mut unread, mut got) = (Vec::new(), Vec::new());
        for pair in cuts.windows(2) {
            let mut buffer = [std::mem::take(&mut unread), wire[pair[0]..pair[1]].to_vec()].concat();
            let opened = records.open(&mut buffer).expect("the server's records");
            got.extend_from_slice(&buffer[..opened.plaintext]);
            unread = buffer[opened.used..].to_vec();
        }
        prop_assert!(unread.is_empty() && got == wanted);
        // Up.
        let mut out = Vec::new();
        writes.iter().for_each(|bytes| records.seal(bytes, &mut out));
        let (mut out, mut got) = (&out[..], Vec::new());
        while !out.is_empty() {
            server.read_tls(&mut out).expect("memory");
            server.process_new_packets().expect("rustls can read it");
            let mut part = vec![0; 64 * 1024];
            match server.reader().read(&mut part) {
                Ok(length) => got.extend_from_slice(&part[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock), // a part of a record
            }
        }
        prop_assert!(got == wanted);
    }

    #[test]
    fn a_changed_bit_is_found(at in 5_usize..60, bit in 0_u8..8) {
        let (mut records, mut server, _) = established(&TlsClient::new().unwrap(), &server_config(TLS13_AES_128_GCM_SHA256));
        let mut wire = sealed_by_rustls(&mut server, &[vec![7; 60]]);
        wire[at] ^= 1 << bit;
        prop_assert!(records.open(&mut wire).is_err());
    }
}

#[test]
fn a_close_ends_what_is_read_and_new_keys_are_a_fault() {
    let config = server_config(TLS13_AES_128_GCM_SHA256);
    let (mut records, mut server, _) = established(&TlsClient::new().unwrap(), &config);
    let mut wire = sealed_by_rustls(&mut server, &[b"last words".to_vec()]);
    server.send_close_notify();
    server.write_tls(&mut wire).expect("memory");
    let opened = records.open(&mut wire).expect("the server's records");
    assert_eq!((&wire[..opened.plaintext], opened.is_closed), (&b"last words"[..], true));

    let (mut records, mut server, _) = established(&TlsClient::new().unwrap(), &config);
    server.refresh_traffic_keys().expect("the handshake is over");
    let mut wire = sealed_by_rustls(&mut server, &[b"x".to_vec()]);
    let error = records.open(&mut wire).expect_err("it cannot follow");
    assert!(error.to_string().contains("changed its TLS keys"), "{error}");
    assert!(record_bytes(b"HTTP/1.1 400").is_err());
}

#[test]
fn a_ticket_is_kept_and_used_once_and_only_if_wanted() {
    let config = server_config(TLS13_AES_128_GCM_SHA256);
    let client = TlsClient::new().unwrap();
    assert!(!established(&client, &config).2);
    assert_eq!(client.tickets.count(), 0);
    client.tickets.keeps.store(true, Ordering::Relaxed);
    assert!(!established(&client, &config).2 && !established(&client, &config).2);
    client.tickets.keeps.store(false, Ordering::Relaxed);
    assert_eq!(client.tickets.count(), 2);
    client.tickets.gives.store(true, Ordering::Relaxed);
    assert!(established(&client, &config).2 && established(&client, &config).2);
    assert!(!established(&client, &config).2);
}

#[test]
fn a_server_without_the_suite_is_refused_with_the_reason() {
    let config = server_config(TLS13_AES_256_GCM_SHA384);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut server = ServerConnection::new(config).expect("a server");
        server.complete_io(&mut stream).expect_err("no suite in common");
    });
    let mut stream = TcpStream::from_std({
        let stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        stream
    });
    let mut tls = TlsClient::new().unwrap().session().expect("a session");
    tls.flush(&mut stream).expect("it is connected");
    server.join().expect("its assertions hold");
    let mut buffer = vec![0; 1024];
    let error = loop {
        match tls.read(&mut stream, &mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            result => break result.expect_err("an alert"),
        }
    };
    assert!(error.to_string().contains("TLS"), "{error}");
}
