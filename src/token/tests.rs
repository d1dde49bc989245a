//! Tokens that are valid, and all that makes them invalid.

mod examples;
mod key_files;
mod oracle;
mod vectors;

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

use super::*;
use crate::config::Config;

pub(in crate::token) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(in crate::token) const NOW: u64 = 1_800_000_000;

/// A file with this content, which is deleted with the value.
pub(in crate::token) struct File(std::path::PathBuf);

impl File {
    pub(in crate::token) fn new(content: &[u8]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lhttp-token-{}-{number}", std::process::id()));
        std::fs::write(&path, content).expect("a file in the directory for temporary files");
        Self(path)
    }

    pub(in crate::token) fn config(&self) -> Config {
        Config { token_key: Some(self.0.clone()), ..Config::default() }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(in crate::token) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// A token with this head and these claims that `SECRET` has signed.
pub(in crate::token) fn signed(head: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(head), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

pub(in crate::token) const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn verify(config: &Config, token: &str) -> Result<Claims, Invalid> {
    let keys = Keys::read(config).unwrap().expect("the options ask for keys");
    keys.verifier().verify(token.as_bytes(), NOW).map(|claims| (*claims).clone())
}

fn said(claims: &str) -> Result<Claims, Invalid> {
    verify(&File::new(SECRET).config(), &signed(HS256, claims))
}

#[test]
fn a_token_says_who_the_client_is_and_what_it_may_do() {
    let token = r#"{"exp":1800000060,"sub":"mike","lhttp.subscribe":["room.*","news"],"lhttp.publish":[],
        "lhttp.info":{"name" :"Mike"},"other":[1,{}]}"#;
    let claims = Claims {
        user: "mike".into(),
        subscribe: ["room.*".into(), "news".into()].into(),
        publish: [].into(),
        info: Some(r#"{"name" :"Mike"}"#.into()),
        expires: 1_800_000_060,
    };
    assert_eq!(said(token), Ok(claims));
}

#[test]
fn each_claim_has_its_bounds() {
    let with = |more: &str| said(&format!(r#"{{"exp":1800000060,"sub":"mike"{more}}}"#)).map(drop);
    let list = |name: &str, count: usize| format!(r#","{name}":[{}]"#, vec![r#""a""#; count].join(","));
    for good in [
        String::new(),
        r#","nbf":1800000030,"iat":"never","aud":7"#.to_owned(),
        r#","nbf":-1e3,"lhttp.info":null"#.to_owned(),
        list("lhttp.subscribe", 64),
        list("lhttp.publish", 64),
        format!(r#","lhttp.info":"{}""#, "x".repeat(1022)),
    ] {
        assert_eq!(with(&good), Ok(()), "{good}");
    }
    for bad in [
        list("lhttp.subscribe", 65),
        list("lhttp.publish", 65),
        format!(r#","lhttp.info":"{}""#, "x".repeat(1023)),
        r#","lhttp.subscribe":"a""#.to_owned(),
        r#","lhttp.subscribe":["a b"]"#.to_owned(),
        r#","lhttp.publish":["a..b"]"#.to_owned(),
        r#","lhttp.publish":[1]"#.to_owned(),
        r#","lhttp":{"subscribe":["a"]}"#.to_owned(),
        r#","iss":7"#.to_owned(),
        r#","sub":"eve""#.to_owned(),
        r#","exp":1e999"#.to_owned(),
    ] {
        assert_eq!(with(&bad), Err(Invalid::Claims), "{bad}");
    }
}

#[test]
fn a_user_has_a_name_that_fits_a_header_line() {
    let user = |json: &str| said(&format!(r#"{{"exp":1800000060,"sub":{json}}}"#)).map(|claims| claims.user);
    assert_eq!(user(r#""a.*>b {user}""#).as_deref(), Ok("a.*>b {user}"));
    assert_eq!(user(r#""\u00e9\ud83d\ude00""#).as_deref(), Ok("é😀"));
    assert_eq!(user(&format!("{:?}", "x".repeat(128))).map(|user| user.len()), Ok(128));
    let long = format!("{:?}", "x".repeat(129));
    for json in [
        r#""""#,
        "null",
        r#"" mike""#,
        r#""mike ""#,
        r#""a\nb""#,
        r#""a\u0000""#,
        r#""a\u007f""#,
        r#""\u0085b""#,
        &long,
    ] {
        assert_eq!(user(json), Err(Invalid::User), "{json}");
    }
    assert_eq!(said(r#"{"exp":1800000060}"#).map(drop), Err(Invalid::User));
}

#[test]
fn times_have_thirty_seconds_of_leeway() {
    let at = |times: &str| said(&format!(r#"{{"sub":"mike",{times}}}"#)).map(|claims| claims.expires);
    assert_eq!(at(r#""exp":1799999971"#), Ok(1_799_999_971));
    assert_eq!(at(r#""exp":1799999971.9"#), Ok(1_799_999_971));
    assert_eq!(at(r#""exp":1e300"#), Ok(253_402_300_799));
    for expired in ["1799999970", "1799999970.9", "0", "-1", "-1e300", "1e-300"] {
        assert_eq!(at(&format!(r#""exp":{expired}"#)), Err(Invalid::Expired), "{expired}");
    }
    assert_eq!(at(r#""exp":1800000060,"nbf":1800000030"#), Ok(1_800_000_060));
    assert_eq!(at(r#""exp":1800000060,"nbf":1800000031"#), Err(Invalid::NotYet));
    for wrong in [r#""exp":"1800000060""#, r#""exp":null"#, r#""nbf":0"#, r#""exp":NaN"#, r#""exp":true"#] {
        assert_eq!(at(wrong), Err(Invalid::Claims), "{wrong}");
    }
}

#[test]
fn issuer_and_audience_are_checked_if_they_are_configured() {
    let file = File::new(SECRET);
    let config = Config {
        token_issuer: Some("https://issuer".to_owned()),
        token_audience: Some("chat".to_owned()),
        ..file.config()
    };
    let check = |claims: &str| {
        let claims = format!(r#"{{"sub":"mike","exp":1800000060{claims}}}"#);
        verify(&config, &signed(HS256, &claims)).map(drop)
    };
    for aud in [r#""chat""#, r#"["x","chat"]"#, r#""ch\u0061t""#] {
        assert_eq!(check(&format!(r#","iss":"https://issuer","aud":{aud}"#)), Ok(()), "{aud}");
    }
    for aud in [r#""chats""#, r#"["x"]"#, "[]", "null", "7", r#"["chat",7]"#, r#"{"chat":1}"#] {
        assert_eq!(check(&format!(r#","iss":"https://issuer","aud":{aud}"#)), Err(Invalid::Audience), "{aud}");
    }
    assert_eq!(check(r#","iss":"https://issuer""#), Err(Invalid::Audience));
    assert_eq!(check(r#","iss":"https://issuer/","aud":"chat""#), Err(Invalid::Issuer));
    assert_eq!(check(r#","aud":"chat""#), Err(Invalid::Issuer));
}

#[test]
fn the_head_names_the_keys_algorithm_and_asks_for_nothing_more() {
    let file = File::new(SECRET);
    let check = |head: &str| verify(&file.config(), &signed(head, r#"{"sub":"mike","exp":1800000060}"#)).map(drop);
    for good in
        [r#"{"alg":"HS256"}"#, r#" {"kid":"any","alg":"HS256","typ":7,"jwk":{}}"#, r#"{"alg":"HS256","kid":null}"#]
    {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (head, reason) in [
        (r#"{"alg":"none"}"#, Invalid::Key),
        (r#"{"alg":"None"}"#, Invalid::Key),
        (r#"{"alg":"hs256"}"#, Invalid::Key),
        (r#"{"alg":"HS384"}"#, Invalid::Key),
        (r#"{"alg":"RS256"}"#, Invalid::Key),
        (r#"{"alg":""}"#, Invalid::Key),
        (r#"{"typ":"JWT"}"#, Invalid::Malformed),
        (r#"{"alg":["HS256"]}"#, Invalid::Malformed),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Invalid::Malformed),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, Invalid::Malformed),
        (r#"{"alg":"HS256","crit":[]}"#, Invalid::Malformed),
        (r#"{"alg":"HS256","crit":null}"#, Invalid::Malformed),
        (r#"{"alg":"HS256"} x"#, Invalid::Malformed),
        (r#"["HS256",null]"#, Invalid::Malformed),
        ("", Invalid::Malformed),
    ] {
        assert_eq!(check(head), Err(reason), "{head}");
    }
}

#[test]
fn only_the_three_parts_that_were_signed_are_a_token() {
    let file = File::new(SECRET);
    let good = signed(HS256, r#"{"sub":"mike","exp":1800000060}"#);
    let check = |token: &str| verify(&file.config(), token).map(drop);
    assert_eq!(check(&good), Ok(()));
    let (rest, signature) = good.rsplit_once('.').unwrap();
    for bad in
        ["", ".", "..", "...", rest, &format!("{good}."), &format!(".{good}"), &format!("{good}="), &format!(" {good}")]
    {
        assert_eq!(check(bad), Err(Invalid::Malformed), "{bad}");
    }
    assert_eq!(check(&format!("{rest}.")), Err(Invalid::Signature));
    assert_eq!(check(&format!("{rest}.{}", &signature[..40])), Err(Invalid::Signature));
    // The last character of 32 bytes has two bits that do not count: another spelling of the same signature.
    let last = signature.bytes().last().unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|&byte| byte == last).unwrap();
    let other = alphabet[value | 1] as char;
    assert_eq!(check(&format!("{rest}.{}{other}", &signature[..42])), Err(Invalid::Malformed));
    let long = |length: usize| {
        let claims = format!(r#"{{"sub":"mike","exp":1800000060,"x":"{}"}}"#, "x".repeat(length));
        signed(HS256, &claims)
    };
    let fitting = (2900..3100).map(long).take_while(|token| token.len() <= TOKEN_BYTES_MAX).last().unwrap();
    assert!(fitting.len() > TOKEN_BYTES_MAX - 4);
    assert_eq!(check(&fitting), Ok(()));
    assert_eq!(check(&long(3100)), Err(Invalid::Malformed));
}
