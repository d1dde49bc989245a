//! The blocking client over TLS.

use std::{fs, net::TcpListener, path::PathBuf, thread, time::Duration};

use lhttp::{
    Message,
    client::{Builder, Client, ClientError, Event},
};

use crate::helpers::{
    PATIENCE,
    tls::{Authority, serve},
};

/// A client that trusts the authority `trusted`, and a server with a certificate of `issuer` for `host`.
fn client_of(trusted: &Authority, issuer: &Authority, host: &str) -> Builder {
    let port = serve(issuer.server_config(host));
    Client::builder(format!("wss://127.0.0.1:{port}"))
        .ca_file(&trusted.file)
        .timeout(PATIENCE)
        .connect_timeout(PATIENCE)
}

#[test]
fn a_client_connects_to_a_server_with_a_certificate_of_a_trusted_authority() {
    let authority = Authority::new("trusted");
    let mut client = client_of(&authority, &authority, "127.0.0.1").connect().unwrap();
    // The last body is longer than a TLS record.
    for body in [b"hi".to_vec(), vec![0xff; 3], vec![b'x'; 100_000]] {
        client.publish("room", Message::new("chat").unwrap().body(body.clone())).unwrap();
        let Some(Event::Message(message)) = client.poll(PATIENCE).unwrap() else { panic!("no message") };
        assert_eq!(message.body_bytes(), body);
    }
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
    client.close().unwrap();
}

#[test]
fn a_client_refuses_a_server_that_cannot_prove_its_identity() {
    let (trusted, other) = (Authority::new("right"), Authority::new("wrong"));
    for (issuer, host) in [(&other, "127.0.0.1"), (&trusted, "example.com")] {
        let error = client_of(&trusted, issuer, host).connect().unwrap_err();
        assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("certificate")), "{error:?}");
    }
}

#[test]
fn a_client_refuses_a_server_without_tls() {
    let authority = Authority::new("plain");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client reads");
    });
    let error = Client::builder(format!("wss://127.0.0.1:{port}")).ca_file(&authority.file).connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(_)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn an_unusable_ca_file_is_refused_before_any_attempt() {
    let empty = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("empty-{}.pem", std::process::id()));
    fs::write(&empty, "no certificate").unwrap();
    for file in [PathBuf::from("/does/not/exist.pem"), empty.clone()] {
        let error = Client::builder("wss://127.0.0.1:1").ca_file(&file).connect().unwrap_err();
        let named = file.display().to_string();
        assert!(matches!(&error, ClientError::Config(why) if why.contains(&named)), "{error:?}");
    }
    fs::remove_file(empty).unwrap();
}
