//! Tokens of the blocking client, against a server that looks at its handshakes.

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lhttp::client::{Builder, Client, ClientError, Event, State};
use tungstenite::{
    HandshakeError, WebSocket,
    handshake::server::{ErrorResponse, Request, Response},
    http::StatusCode,
};

use crate::helpers::{
    PATIENCE,
    faulty::{ack, chat, event, read_message, read_with, refuse_with, say, wait_for_end},
};

/// How long a test waits to see that nothing comes.
const SOON: Duration = Duration::from_millis(100);

/// Tokens in form only: the server of these tests compares them.
const FIRST: &str = "e30.eyJzdWIiOiJtaWtlIn0.Zmlyc3Q";
const SECOND: &str = "e30.eyJzdWIiOiJtaWtlIn0.c2Vjb25k";

/// The answer to a handshake: the status if it is refused.
type Verdict = Result<(), StatusCode>;

/// A client of a server that answers each handshake in turn as `verdict` says for its `authorization`, and runs `serve`
/// for each that it accepts.
fn against(
    verdict: impl Fn(usize, Option<&str>) -> Verdict + Send + 'static,
    serve: impl Fn(usize, WebSocket<TcpStream>) + Send + 'static,
    connections: usize,
) -> (Builder, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            #[allow(clippy::result_large_err, reason = "tungstenite decides this type")]
            let judge = |request: &Request, response: Response| {
                let given = request.headers().get_all("authorization").iter().collect::<Vec<_>>();
                assert!(given.len() <= 1, "{given:?}");
                let given = given.first().map(|value| value.to_str().unwrap());
                verdict(number, given).map(|()| response).map_err(|status| {
                    let mut refusal = ErrorResponse::new(Some("the token has run out\n".to_owned()));
                    *refusal.status_mut() = status;
                    refusal
                })
            };
            match tungstenite::accept_hdr(stream, judge) {
                Ok(socket) => serve(number, socket),
                Err(HandshakeError::Failure(tungstenite::Error::Http(_))) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let builder = Client::builder(url).timeout(PATIENCE);
    (builder.reconnect_delay(Duration::from_millis(1), Duration::from_millis(10)), server)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Gives the first token, then the second one for ever; and how often it was asked.
fn source() -> (impl FnMut() -> Result<String, Box<dyn std::error::Error + Send + Sync>> + Send, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let source = move || Ok(if counter.fetch_add(1, Ordering::Relaxed) == 0 { FIRST } else { SECOND }.to_owned());
    (source, asked)
}

#[test]
fn a_fixed_token_is_sent_in_each_handshake_instead_of_a_header_of_that_name() {
    let (builder, server) = against(
        |_, given| {
            assert_eq!(given, Some(bearer(FIRST).as_str()));
            Ok(())
        },
        |number, mut socket| {
            if number == 1 {
                wait_for_end(&mut socket);
            }
        },
        2,
    );
    let mut client = builder.header("authorization", "Basic bWlrZTo=").token(FIRST).connect().unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { refusal: None, .. })));
    assert_eq!(event(&mut client), Event::State(State::Open));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_token_function_is_asked_for_each_attempt() {
    let (builder, server) = against(
        |number, given| {
            assert_eq!(given, Some(bearer([FIRST, SECOND, SECOND][number]).as_str()));
            Ok(())
        },
        |number, mut socket| {
            if number == 2 {
                wait_for_end(&mut socket);
            }
        },
        3,
    );
    let (source, asked) = source();
    let mut client = builder.token_source(source).connect().unwrap();
    for _ in 0..2 {
        assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
        assert_eq!(event(&mut client), Event::State(State::Open));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_refused_handshake_is_told_with_its_code_and_the_servers_sentence() {
    for (status, code, reason) in
        [(StatusCode::UNAUTHORIZED, 401, "unauthorized"), (StatusCode::FORBIDDEN, 403, "forbidden")]
    {
        let (builder, server) = against(move |_, _| Err(status), |_, _| {}, 1);
        let error = builder.token(FIRST).connect().unwrap_err();
        assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
        assert_eq!((error.code(), error.reason()), (Some(code), reason));
        assert_eq!(error.sentence(), "the token has run out");
        server.join().unwrap();
    }
    let (builder, server) = against(|_, _| Err(StatusCode::SERVICE_UNAVAILABLE), |_, _| {}, 1);
    let error = builder.connect().unwrap_err();
    assert!(matches!(&error, ClientError::NotConnected(why) if why.contains("503")), "{error:?}");
    server.join().unwrap();
}

#[test]
fn a_handshake_that_is_refused_later_is_told_and_retried() {
    let (builder, server) = against(
        |number, _| if number == 1 { Err(StatusCode::UNAUTHORIZED) } else { Ok(()) },
        |number, mut socket| {
            if number == 2 {
                wait_for_end(&mut socket);
            }
        },
        3,
    );
    let mut client = builder.token(FIRST).connect().unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { refusal: None, .. })));
    let Event::State(State::Waiting { why, refusal: Some(refusal), .. }) = event(&mut client) else {
        panic!("the refusal is not told")
    };
    assert_eq!((refusal.code(), refusal.reason()), (401, "unauthorized"));
    assert_eq!(why, "the server refused the handshake: 401 unauthorized: the token has run out");
    assert_eq!(event(&mut client), Event::State(State::Open));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_token_function_that_fails_is_told() {
    let error = Client::builder("ws://127.0.0.1:1").token_source(|| Err("the file is gone".into())).connect();
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(401), "no-token"));
    assert_eq!(error.sentence(), "there is no token: the file is gone");
    let error = Client::builder("ws://127.0.0.1:1").token_source(|| Ok("a\r\nb".to_owned())).connect().unwrap_err();
    assert!(error.sentence().starts_with("the token is not a JWT"), "{error}");
    let error = Client::builder("ws://127.0.0.1:1").token("a\r\nb").connect().unwrap_err();
    assert!(matches!(error, ClientError::Config(_)), "{error:?}");
}

#[test]
fn an_expired_token_is_renewed_at_once_and_the_subscriptions_are_made_again() {
    let (builder, server) = against(
        |_, _| Ok(()),
        |_, mut socket| {
            let subscribe = read_with(&mut socket, "subscribe", "room");
            ack(&mut socket, &subscribe);
            say(&mut socket, "LHTTP/1.0 error\r\ncode:401\r\nreason:token-expired\r\n\r\nthe token has run out");
            let renewal = read_message(&mut socket);
            assert_eq!((renewal.command(), renewal.header_value("token")), ("lhttp-token", Some(SECOND)));
            let token = renewal.header_value("ack").unwrap();
            say(&mut socket, &format!("LHTTP/1.0 ack\r\nack:{token}\r\nexpires-in:3600\r\n\r\n"));
            // Sent right behind the token, before its answer.
            let published = read_with(&mut socket, "publish", "room");
            refuse_with(&mut socket, &published, "code:403\r\nreason:forbidden");
            let again = read_with(&mut socket, "subscribe", "room");
            ack(&mut socket, &again);
            wait_for_end(&mut socket);
        },
        1,
    );
    let (source, asked) = source();
    let mut client = builder.token_source(source).connect().unwrap();
    client.subscribe("room").unwrap();
    let Event::Refused(refusal) = event(&mut client) else { panic!("the end of the token is not told") };
    assert_eq!((refusal.code(), refusal.reason()), (401, "token-expired"));
    // Any call renews first; an error reaches the call that it belongs to.
    let error = client.publish("room", chat("x")).unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(403), "forbidden"));
    assert_eq!((client.poll(SOON), asked.load(Ordering::Relaxed)), (Ok(None), 2));
    assert_eq!(client.subscriptions().collect::<Vec<_>>(), ["room"]);
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_renewal_that_is_refused_is_told_and_retried() {
    let (builder, server) = against(
        |_, _| Ok(()),
        |_, mut socket| {
            let published = read_with(&mut socket, "publish", "room");
            refuse_with(&mut socket, &published, "code:401\r\nreason:unauthorized");
            for accepts in [false, true] {
                let renewal = read_with(&mut socket, "token", SECOND);
                match accepts {
                    false => refuse_with(&mut socket, &renewal, "code:401\r\nreason:unauthorized"),
                    true => ack(&mut socket, &renewal),
                }
            }
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.token_source(source().0).connect().unwrap();
    assert_eq!(client.publish("room", chat("x")).unwrap_err().code(), Some(401));
    let Event::TokenNotRenewed(refusal) = event(&mut client) else { panic!("the refusal is not told") };
    assert_eq!((refusal.code(), refusal.sentence()), (401, "not this"));
    // The second one is accepted, which makes no event.
    assert_eq!(client.poll(SOON), Ok(None));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_subscription_that_the_server_ends_is_lost_and_no_longer_renewed() {
    let (builder, server) = against(
        |_, _| Ok(()),
        |_, mut socket| {
            let subscribe = read_with(&mut socket, "subscribe", "one two");
            ack(&mut socket, &subscribe);
            say(&mut socket, "LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:one\r\n\r\nnot any more");
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.connect().unwrap();
    client.subscribe("one two").unwrap();
    let Event::SubscriptionLost { channel, refusal } = event(&mut client) else { panic!("it is not told") };
    assert_eq!((channel.as_str(), refusal.code(), refusal.sentence()), ("one", 403, "not any more"));
    assert_eq!(client.subscriptions().collect::<Vec<_>>(), ["two"]);
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn set_token_returns_what_the_server_says_and_is_used_in_the_next_handshake() {
    let (builder, server) = against(
        |number, given| {
            assert_eq!(given, [None, Some(bearer(SECOND).as_str())][number]);
            Ok(())
        },
        |number, mut socket| match number {
            0 => {
                let refused = read_with(&mut socket, "token", FIRST);
                refuse_with(&mut socket, &refused, "code:401\r\nreason:unauthorized");
                let accepted = read_with(&mut socket, "token", SECOND);
                ack(&mut socket, &accepted);
            }
            _ => wait_for_end(&mut socket),
        },
        2,
    );
    let mut client = builder.connect().unwrap();
    assert_eq!(client.set_token("nonsense").unwrap_err().code(), Some(401));
    let error = client.set_token(FIRST).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code() == 401), "{error:?}");
    client.set_token(SECOND).unwrap();
    assert!(matches!(event(&mut client), Event::State(State::Waiting { .. })));
    // Without a connection it is only remembered.
    client.set_token(SECOND).unwrap();
    assert_eq!(event(&mut client), Event::State(State::Open));
    client.close().unwrap();
    server.join().unwrap();
}

#[test]
fn no_token_is_in_the_debug_output() {
    let builder = Client::builder("ws://127.0.0.1:1").token(FIRST);
    assert!(!format!("{builder:?}").contains("eyJ"), "{builder:?}");
}
