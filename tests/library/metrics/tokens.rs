//! Tokens refused, by reason.

use lhttp::{Config, Handle};

use super::series::{value, wait_for_value};
use crate::helpers::{
    Client,
    http::{Http, handshake, publish_request},
    start,
    token::{KeyFile, now, signed},
};

fn refused(reason: &str) -> String {
    format!("lhttp_tokens_refused_total{{reason=\"{reason}\"}}")
}

/// The status of a handshake with this token.
fn shake_hands(server: &Handle, token: &str) -> u16 {
    let mut http = Http::connect(server.local_addrs()[0].port());
    http.ask(handshake("/", &format!("Authorization: Bearer {token}\r\n"))).status
}

#[test]
fn each_reason_against_a_token_has_its_series() {
    let key = KeyFile::new();
    let config = Config {
        token_key: Some(key.path()),
        token_issuer: Some("us".into()),
        token_audience: Some("chat".into()),
        publish_key: Some("secret".into()),
        ..Config::default()
    };
    let server = start(|builder| builder.config(config));
    let claims = |exp: u64, nbf: u64, iss: &str, aud: &str, sub: &str, more: &str| {
        signed(&format!("{{\"exp\":{exp},\"nbf\":{nbf},\"iss\":{iss:?},\"aud\":{aud:?},\"sub\":{sub:?}{more}}}"))
    };
    let (past, soon) = (now() - 1000, now() + 1000);
    let good = claims(soon, past, "us", "chat", "mike", "");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    // The same token with `alg` ES256, for which there is no key.
    let other_key = format!("eyJhbGciOiJFUzI1NiJ9{}", &good[good.find('.').expect("a header")..]);
    let cases = [
        ("no.token".to_owned(), "malformed"),
        (other_key, "key"),
        (forged, "signature"),
        (claims(past, past, "us", "chat", "mike", ""), "expired"),
        (claims(soon, soon, "us", "chat", "mike", ""), "not_yet"),
        (claims(soon, past, "them", "chat", "mike", ""), "issuer"),
        (claims(soon, past, "us", "mail", "mike", ""), "audience"),
        (claims(soon, past, "us", "chat", "", ""), "user"),
        (claims(soon, past, "us", "chat", "mike", ",\"lhttp.publish\":7"), "claims"),
    ];
    for (number, (token, reason)) in cases.into_iter().enumerate() {
        assert_eq!(shake_hands(&server, &token), 401, "{reason}");
        wait_for_value(&server, &refused(reason), 1.0);
        wait_for_value(&server, "lhttp_unauthorized_total", number as f64 + 1.0);
    }
    let mut http = Http::connect(server.local_addrs()[0].port());
    assert_eq!(http.ask(publish_request("LHTTP/1.0 c\r\npublish:a\r\n\r\n", "")).status, 401);
    wait_for_value(&server, &refused("missing"), 1.0);
    assert_eq!([shake_hands(&server, &good), shake_hands(&server, &good)], [101, 101]);
    wait_for_value(&server, "lhttp_tokens_verified_total", 1.0);
    wait_for_value(&server, "lhttp_tokens_from_cache_total", 1.0);
    assert!(value(&server, "lhttp_token_cache_bytes") > 0.0);
    assert_eq!(value(&server, "lhttp_token_keys"), 1.0);
    let header = format!("Bearer {good}");
    let mut client = Client::connect_to(server.local_addrs()[0], "/", &[("authorization", &header)]);
    client.say(&format!("LHTTP/1.0 c\r\ntoken:{}\r\n\r\n", claims(soon, past, "us", "chat", "anna", "")));
    let _refusal = client.recv();
    wait_for_value(&server, &refused("other_user"), 1.0);
}
