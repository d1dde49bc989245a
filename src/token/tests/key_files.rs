//! What a file with keys may hold.

use ring::hmac;
use serde_json::json;

use super::*;

const RSA: &str = include_str!("keys/rsa.pem");
const P256: &str = include_str!("keys/p256.pem");
const ED25519: &str = include_str!("keys/ed25519.pem");

/// The algorithms and names of the keys in a file.
fn keys(content: impl AsRef<[u8]>) -> Result<Vec<String>, String> {
    let set = key_file::read(content.as_ref())?;
    Ok(set
        .keys
        .iter()
        .map(|key| format!("{}{}", key.algorithm.name(), key.id.as_deref().unwrap_or_default()))
        .collect())
}

fn refusal(content: impl AsRef<[u8]>) -> String {
    keys(content).expect_err("it is refused")
}

#[test]
fn a_secret_is_one_line_or_bytes() {
    for content in [SECRET.to_vec(), [SECRET, b"\n"].concat(), [SECRET, b"\r\n"].concat(), vec![0xff; 32]] {
        assert_eq!(keys(&content), Ok(vec!["HS256".to_owned()]));
    }
    let short = refusal(&SECRET[1..]);
    assert!(short.contains("31 bytes") && short.contains("openssl rand -hex 32") && !short.contains("123"), "{short}");
    assert!(refusal("").contains("empty") && refusal(" \n").contains("empty"));
    assert!(refusal([SECRET, b"\n", SECRET].concat()).contains("several lines"));
    assert!(refusal(vec![b'x'; 1025]).contains("more than 1024"));
}

#[test]
fn a_key_in_another_form_is_not_taken_for_a_secret() {
    let der = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let bytes = |pem: &str| data_encoding::BASE64.decode(der(pem).as_bytes()).unwrap();
    for text in [P256, "{\"keys\": []}"] {
        let utf16 = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (mark, content) in [([0xff, 0xfe], utf16(u16::to_le_bytes)), ([0xfe, 0xff], utf16(u16::to_be_bytes))] {
            assert!(refusal([&mark[..], &content].concat()).contains("byte order mark"), "{text}");
            assert!(refusal(&content).contains("UTF-16"), "{text}");
        }
        assert!(refusal([&[0xef, 0xbb, 0xbf][..], text.as_bytes()].concat()).contains("byte order mark"), "{text}");
    }
    assert!(refusal(b"{\"keys\": []}\xff").contains("neither UTF-8"));
    for pem in [RSA, P256, ED25519] {
        assert!(refusal(der(pem)).contains("in DER"), "{pem}");
        assert!(refusal(bytes(pem)).contains("in DER"), "{pem}");
    }
    assert!(refusal(format!("ssh-ed25519 {} mike@host", "A".repeat(68))).contains("SSH"));
    let private = refusal(include_str!("keys/p256.key.pem"));
    assert!(private.contains("private") && private.contains("openssl pkey -pubout"), "{private}");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    assert!(refusal(certificate).contains("openssl x509 -pubkey"));
}

#[test]
fn pem_may_have_several_public_keys_and_text_between_them() {
    let all = format!("one\n{RSA}{P256}# two\n{ED25519}");
    assert_eq!(keys(all), Ok(["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec()));
    for broken in [
        RSA.replace("MIIB", "MIIC"),
        RSA.replacen('A', "B", 1),
        P256.replace("END", "ENT"),
        RSA.replace("PUBLIC", "RSA PUBLIC"),
    ] {
        refusal(broken);
    }
    assert_eq!(keys(P256.repeat(64)).unwrap().len(), 64);
    assert!(refusal(P256.repeat(65)).contains("more than 64"));
}

#[test]
fn a_key_with_few_bits_is_refused() {
    // Made by `openssl genrsa 1024 | openssl rsa -pubout`.
    let weak = include_str!("keys/rsa1024.pem");
    assert!(refusal(weak).contains("1024 bits"));
}

#[test]
fn a_set_has_keys_by_name_and_others_are_skipped() {
    let secret = encode(SECRET);
    let set = json!({"keys": [
        {"kty": "oct", "k": secret, "kid": "-a"},
        {"kty": "oct", "k": encode(SECRET.repeat(2)), "alg": "HS512", "kid": "-b", "use": "sig", "key_ops": ["sign", "verify"]},
        {"kty": "oct", "k": secret, "use": "enc"},
        {"kty": "oct", "k": secret, "key_ops": ["sign"]},
        {"kty": "oct", "k": secret, "alg": "none"},
        {"kty": "oct", "k": secret, "alg": "ES256"},
        {"kty": "oct", "k": "c2hvcnQ"},
        {"kty": "OKP", "crv": "Ed25519", "x": encode([7; 32])},
        {"kty": "OKP", "crv": "Ed25519", "x": encode([7; 31])},
        {"kty": "OKP", "crv": "Ed25519", "x": encode([7; 32]), "d": encode([7; 32])},
        {"kty": "OKP", "crv": "X25519", "x": encode([7; 32])},
        {"kty": "EC", "crv": "P-256", "x": encode([7; 32]), "y": encode([7; 32]), "kid": "-c"},
        {"kty": "EC", "crv": "P-256", "x": encode([7; 31]), "y": encode([7; 33])},
        {"kty": "EC", "crv": "P-521", "x": encode([7; 66]), "y": encode([7; 66])},
        {"kty": "RSA", "n": encode([0xff; 256]), "e": "AQAB", "alg": "PS384"},
        {"kty": "RSA", "n": encode([0xff; 256]), "e": "AA"},
        {"kty": "new", "x": 7},
        {"kid": "none"},
        7,
    ]});
    let expected = ["HS256-a", "HS512-b", "EdDSA", "ES256-c", "PS384"].map(str::to_owned);
    assert_eq!(keys(set.to_string()), Ok(expected.to_vec()));
    let set = set.to_string();
    let published = key_set::KeySet::read(&set, false).unwrap();
    assert_eq!(published.keys.len(), 3, "a published set has no secrets");
    assert_eq!(published.skipped.len(), 16);
    assert!(published.skipped.iter().all(|flaw| !flaw.contains(&secret)), "{:?}", published.skipped);
}

#[test]
fn one_key_in_json_needs_no_set_and_a_set_without_keys_is_none() {
    assert_eq!(keys(json!({"kty": "oct", "k": encode(SECRET)}).to_string()), Ok(vec!["HS256".to_owned()]));
    for broken in
        ["{}", "{", r#"{"keys":[]}"#, r#"{"keys":{}}"#, r#"{"keys":[7]}"#, r#"[{"kty":"oct"}]"#, r#"{"keys":null}"#]
    {
        refusal(broken);
    }
    let one = json!({"kty": "oct", "k": encode(SECRET)});
    assert!(refusal(json!({"keys": vec![one; 65]}).to_string()).contains("more than 64"));
}

#[test]
fn a_token_that_names_a_key_is_checked_with_that_one_only() {
    let (old, new) = ([1; 32], [2; 32]);
    let set = json!({"keys": [
        {"kty": "oct", "k": encode(old), "kid": "old"},
        {"kty": "oct", "k": encode(new), "kid": "new"},
    ]});
    let file = File::new(set.to_string().as_bytes());
    let mut verifier = Keys::read(&file.config()).unwrap().unwrap().verifier();
    let mut check = |head: &str, secret: &[u8]| {
        let signed = format!("{}.{}", encode(head), encode(r#"{"sub":"mike","exp":1800000060}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        verifier.verify(format!("{signed}.{}", encode(tag)).as_bytes(), NOW).map(drop)
    };
    assert_eq!(check(r#"{"alg":"HS256","kid":"new"}"#, &new), Ok(()));
    assert_eq!(check(r#"{"alg":"HS256","kid":"old"}"#, &new), Err(Invalid::Signature));
    assert_eq!(check(r#"{"alg":"HS256","kid":"none"}"#, &new), Err(Invalid::Key));
    assert_eq!(check(r#"{"alg":"HS256"}"#, &old), Ok(()));
    assert_eq!(check(r#"{"alg":"HS256"}"#, &new), Ok(()));
    assert_eq!(check(r#"{"alg":"HS256"}"#, SECRET), Err(Invalid::Signature));
    let tally = verifier.tally();
    assert_eq!((tally.verified, tally.from_cache, tally.refused), (3, 0, 3));
    assert_eq!((tally.reasons[Invalid::Key as usize], tally.reasons[Invalid::Signature as usize]), (1, 2));
}

#[test]
fn a_new_file_takes_the_place_of_the_old_one_and_a_wrong_one_does_not() {
    let file = File::new(SECRET);
    let keys = Keys::read(&file.config()).unwrap().unwrap();
    let mut verifier = keys.verifier();
    let token = signed(HS256, r#"{"sub":"mike","exp":1800000060}"#);
    let mut check = || verifier.verify(token.as_bytes(), NOW).map(drop);
    assert_eq!(check(), Ok(()));
    assert_eq!(keys.reread(), Ok(vec![]));
    let path = file.config().token_key.unwrap();
    std::fs::write(&path, "short").unwrap();
    let error = keys.reread().unwrap_err();
    assert!(error.starts_with(&format!("token-key: {}: ", path.display())) && !error.contains("short"), "{error}");
    assert_eq!(check(), Ok(()), "the old key stays");
    std::fs::write(&path, P256).unwrap();
    assert_eq!(keys.reread(), Ok(vec!["token-key"]));
    assert_eq!(check(), Err(Invalid::Key), "the cache must not outlive the key");
    std::fs::remove_file(&path).unwrap();
    assert!(keys.reread().unwrap_err().contains("cannot be read"));
}
