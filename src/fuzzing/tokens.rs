//! Tokens of strangers, tokens that an issuer has signed, and files with keys.

use serde_json::Value;

use super::dice::Dice;
use crate::token::fixture::{self, Fixture, SECRET};

const NOW: u64 = 1_800_000_000;

const WORDS: [&[u8]; 40] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\"alg\":\"HS256\"",
    b"\"alg\":\"none\"",
    b"\"kid\":\"k\"",
    b"\"crit\":[\"exp\"]",
    b"\"sub\":\"mike\"",
    b"\"sub\":",
    b"\"exp\":1800000060",
    b"\"exp\":",
    b"\"nbf\":1799999999",
    b"\"nbf\":",
    b"\"iss\":\"i\"",
    b"\"aud\":[\"a\",\"chat\"]",
    b"\"lhttp.subscribe\":",
    b"\"lhttp.publish\":[\"a.*\",\"b\"]",
    b"\"lhttp.info\":",
    b"\"lhttp\":",
    b"[\"room.>\"]",
    b"1e999",
    b"-1",
    b"18446744073709551616",
    b"1800000060.5",
    b"null",
    b"NaN",
    b"\"\\u0000\"",
    b"\"\\ud800\"",
    b"\xff",
    b"\xc3\xa9",
    b".",
    b"=",
    b" ",
    b"eyJhbGciOiJIUzI1NiJ9",
    b"-----BEGIN PUBLIC KEY-----\n",
];

/// A token that is accepted has the key's signature and algorithm, is valid now, and says what another reader of its
/// JSON says. The cache says the same as the check.
pub fn tokens(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    match dice.below(4) {
        0 => fixture::read_keys(&dice.text(&WORDS)),
        1 => check(&dice.text(&WORDS), None),
        2 => {
            let head = dice.text(&WORDS);
            let claims = br#"{"sub":"mike","exp":1800000060}"#;
            check(&fixture::sign(&head, claims), Some((&head, claims)));
        }
        _ => {
            let (head, inner) = (br#"{"alg":"HS256"}"#, dice.text(&WORDS));
            let claims = [b"{\"exp\":1800000060,\"sub\":\"mike\",", &*inner, b"}"].concat();
            check(&fixture::sign(head, &claims), Some((head, &claims)));
        }
    }
}

fn check(token: &[u8], signed: Option<(&[u8], &[u8])>) {
    let mut fixture = Fixture::new(SECRET);
    let verdict = fixture.verify(token, NOW);
    assert_eq!(fixture.verify(token, NOW), verdict, "the cache says something else");
    let Ok(claims) = verdict else { return };
    let (head, text) = signed.expect("a stranger's token is accepted");
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
    let (head, said) = (json(head), json(text));
    assert_eq!(head["alg"], "HS256");
    assert!(head.get("crit").is_none() && said["lhttp"].is_null());
    assert_eq!(said["sub"], *claims.user);
    let names = |claim: &str| said[claim].as_array().cloned().unwrap_or_default();
    assert!(
        claims
            .subscribe
            .iter()
            .map(|name| &**name)
            .eq(names("lhttp.subscribe").iter().map(|name| name.as_str().expect("a text")))
    );
    assert!(
        claims
            .publish
            .iter()
            .map(|name| &**name)
            .eq(names("lhttp.publish").iter().map(|name| name.as_str().expect("a text")))
    );
    assert_eq!(claims.info.as_deref().map_or(Value::Null, |info| json(info.as_bytes())), said["lhttp.info"]);
    assert!(claims.expires + 30 > NOW && said["nbf"].as_f64().is_none_or(|nbf| nbf < NOW as f64 + 31.0));
    for at in [claims.expires + 30, u64::MAX] {
        assert!(fixture.verify(token, at).is_err(), "it outlives its end");
    }
}
