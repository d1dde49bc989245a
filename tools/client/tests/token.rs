//! `token`, checked by another library.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Folder, expect_code, program, run};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The private and the public key of each kind, in PEM.
macro_rules! pair {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../../src/token/tests/keys/", $name, ".key.pem")).as_slice(),
            include_bytes!(concat!("../../../src/token/tests/keys/", $name, ".pem")).as_slice(),
        )
    };
}

fn output(key: &str, args: &[&str]) -> std::process::Output {
    let mut command = program();
    command.args(["token", "--key", key, "--user", "mike"]).args(args);
    run(command, b"")
}

#[track_caller]
fn token(key: &str, args: &[&str]) -> String {
    let (out, err) = expect_code(&output(key, args), 0);
    assert_eq!((err.as_str(), out.lines().count()), ("", 1));
    out.trim_end().to_owned()
}

#[track_caller]
fn claims(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    decode::<Value>(token, key, &validation).expect("the token is valid").claims
}

#[test]
fn it_has_the_claims_that_the_options_name_and_no_others() {
    let folder = Folder::new();
    let key = DecodingKey::from_secret(SECRET).unwrap();
    for content in [SECRET.to_vec(), [SECRET, b"\n"].concat(), [SECRET, b"\r\n"].concat()] {
        let file = folder.file("secret", &content);
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let few = claims(&token(&file, &[]), &key, Algorithm::HS256);
        let (issued, expires) = (few["iat"].as_u64().unwrap(), few["exp"].as_u64().unwrap());
        assert!(Duration::from_secs(issued + 1) > before && expires == issued + 3600, "{few}");
        assert_eq!(few, json!({"sub": "mike", "iat": issued, "exp": expires}));
    }
    let args = [
        "--subscribe",
        "room.* news",
        "--subscribe",
        "a",
        "--publish",
        "b",
        "--ttl",
        "90s",
        "--info",
        r#"{"a": [1]}"#,
        "--issuer",
        "i",
        "--audience",
        "chat",
        "--kid",
        "k",
    ];
    let made = token(&folder.file("secret", SECRET), &args);
    let many = claims(&made, &key, Algorithm::HS256);
    let (issued, expires) = (many["iat"].as_u64().unwrap(), many["exp"].as_u64().unwrap());
    assert_eq!(expires, issued + 90);
    assert_eq!(
        many,
        json!({
            "sub": "mike", "iat": issued, "exp": expires, "iss": "i", "aud": "chat", "lhttp.info": {"a": [1]},
            "lhttp.subscribe": ["room.*", "news", "a"], "lhttp.publish": ["b"],
        })
    );
    assert_eq!(decode_header(&made).unwrap().kid.as_deref(), Some("k"));
}

#[test]
fn a_private_key_signs_with_the_algorithm_that_a_server_takes() {
    let folder = Folder::new();
    let rsa = pair!("rsa");
    let keys = [
        (rsa, Algorithm::RS256, DecodingKey::from_rsa_pem(rsa.1).unwrap()),
        (pair!("p256"), Algorithm::ES256, DecodingKey::from_ec_pem(pair!("p256").1).unwrap()),
        (pair!("p384"), Algorithm::ES384, DecodingKey::from_ec_pem(pair!("p384").1).unwrap()),
        (pair!("ed25519"), Algorithm::EdDSA, DecodingKey::from_ed_pem(pair!("ed25519").1).unwrap()),
    ];
    for ((private, public), algorithm, key) in keys {
        let made = token(&folder.file("private.pem", private), &[]);
        assert_eq!(claims(&made, &key, algorithm)["sub"], "mike");
        let (_, err) = expect_code(&output(&folder.file("public.pem", public), &[]), 2);
        assert!(err.contains("public.pem has no private key"), "{err}");
    }
}

#[test]
fn what_no_server_takes_is_not_made() {
    let folder = Folder::new();
    let secret = folder.file("secret", SECRET);
    let long = format!("\"{}\"", "x".repeat(1023));
    let channels = "x".repeat(3000);
    for (key, args, said) in [
        ("/no/such/file", &[][..], "cannot be read"),
        (&folder.file("short", &SECRET[1..]), &[], "31 bytes"),
        (&folder.file("jwk", b"{\"kty\":\"oct\"}"), &[], "is JSON"),
        (&secret, &["--info", "{"], "not JSON"),
        (&secret, &["--info", &long], "1025 bytes"),
        (&secret, &["--ttl", "soon"], "soon"),
        (&secret, &["--subscribe", &channels], "a server takes 4096"),
    ] {
        let (out, err) = expect_code(&output(key, args), 2);
        assert!(out.is_empty() && err.contains(said) && !err.contains("0123456789"), "{said}: {err}");
    }
}
