//! Random tokens, checked by this module and by the crate `jsonwebtoken` with another library for cryptography.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm as Theirs, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::{File, SECRET, encode as base64url};
use crate::{
    config::Config,
    protocol::channel,
    token::{Claims, Invalid, Keys, Verifier, key::Algorithm},
};

const RSA: (&str, &str) = (include_str!("keys/rsa.key.pem"), include_str!("keys/rsa.pem"));
const P256: (&str, &str) = (include_str!("keys/p256.key.pem"), include_str!("keys/p256.pem"));
const P384: (&str, &str) = (include_str!("keys/p384.key.pem"), include_str!("keys/p384.pem"));
const ED25519: (&str, &str) = (include_str!("keys/ed25519.key.pem"), include_str!("keys/ed25519.pem"));

const AUDIENCE: &str = "chat";
const ISSUER: &str = "https://issuer";

/// Each algorithm with its keys in the form that `jsonwebtoken` takes.
fn theirs(algorithm: Algorithm) -> (Theirs, EncodingKey, DecodingKey) {
    let pem = |pair: (&str, &str)| (pair.0.as_bytes().to_vec(), pair.1.as_bytes().to_vec());
    let rsa = || {
        let (private, public) = pem(RSA);
        (EncodingKey::from_rsa_pem(&private).unwrap(), DecodingKey::from_rsa_pem(&public).unwrap())
    };
    let ec = |pair| {
        let (private, public) = pem(pair);
        (EncodingKey::from_ec_pem(&private).unwrap(), DecodingKey::from_ec_pem(&public).unwrap())
    };
    let (name, (private, public)) = match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            let secret = secret(algorithm);
            let keys = (EncodingKey::from_secret(&secret).unwrap(), DecodingKey::from_secret(&secret).unwrap());
            let names = [Theirs::HS256, Theirs::HS384, Theirs::HS512];
            (names[algorithm as usize - Algorithm::Hs256 as usize], keys)
        }
        Algorithm::Rs256 => (Theirs::RS256, rsa()),
        Algorithm::Rs384 => (Theirs::RS384, rsa()),
        Algorithm::Rs512 => (Theirs::RS512, rsa()),
        Algorithm::Ps256 => (Theirs::PS256, rsa()),
        Algorithm::Ps384 => (Theirs::PS384, rsa()),
        Algorithm::Ps512 => (Theirs::PS512, rsa()),
        Algorithm::Es256 => (Theirs::ES256, ec(P256)),
        Algorithm::Es384 => (Theirs::ES384, ec(P384)),
        Algorithm::EdDsa => {
            let (private, public) = pem(ED25519);
            let keys = (EncodingKey::from_ed_pem(&private).unwrap(), DecodingKey::from_ed_pem(&public).unwrap());
            (Theirs::EdDSA, keys)
        }
    };
    (name, private, public)
}

fn secret(algorithm: Algorithm) -> Vec<u8> {
    match algorithm {
        Algorithm::Hs256 => SECRET.to_vec(),
        Algorithm::Hs384 => SECRET.repeat(2)[..48].to_vec(),
        _ => SECRET.repeat(2),
    }
}

/// A verifier with the key of this algorithm and no other.
fn ours(algorithm: Algorithm, config: &Config) -> Verifier {
    let content = match algorithm {
        Algorithm::Hs256 => SECRET.to_vec(),
        Algorithm::Hs384 | Algorithm::Hs512 => {
            let key = json!({"kty": "oct", "alg": algorithm.name(), "k": base64url(secret(algorithm))});
            key.to_string().into_bytes()
        }
        Algorithm::Rs256 => RSA.1.into(),
        Algorithm::Es256 => P256.1.into(),
        Algorithm::Es384 => P384.1.into(),
        Algorithm::EdDsa => ED25519.1.into(),
        _ => {
            let (n, e) = rsa_numbers();
            json!({"keys": [{"kty": "RSA", "alg": algorithm.name(), "n": n, "e": e}]}).to_string().into_bytes()
        }
    };
    let file = File::new(&content);
    let config = Config { token_key: file.config().token_key, ..config.clone() };
    Keys::read(&config).unwrap().expect("the options ask for keys").verifier()
}

/// Modulus and exponent of the RSA key, in base64url.
fn rsa_numbers() -> (String, String) {
    use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
    let key = EncodingKey::from_rsa_pem(RSA.0.as_bytes()).unwrap();
    match Jwk::from_encoding_key(&key, Theirs::RS256).unwrap().algorithm {
        AlgorithmParameters::RSA(parameters) => (parameters.n, parameters.e),
        other => panic!("{other:?}"),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What their library says: the claims, if it accepts the token.
fn their_verdict(algorithm: Algorithm, config: &Config, token: &str) -> Option<Value> {
    let (name, _, key) = theirs(algorithm);
    let mut validation = Validation::new(name);
    validation.leeway = 30;
    validation.validate_nbf = true;
    validation.validate_aud = config.token_audience.is_some();
    let mut required = vec!["exp"];
    if let Some(audience) = &config.token_audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &config.token_issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    decode::<Value>(token, &key, &validation).ok().map(|data| data.claims)
}

/// What these claims mean, by the words of PROTOCOL.md; none if something in them is against it.
fn meaning(claims: &Value) -> Option<Claims> {
    let names = |claim: &str| match &claims[claim] {
        Value::Null => Some(Box::default()),
        Value::Array(names) if names.len() <= 64 => {
            let name = |name: &Value| {
                let name = name.as_str()?;
                channel::check_subscribe(name.as_bytes()).is_ok().then(|| Box::from(name))
            };
            names.iter().map(name).collect::<Option<Box<[Box<str>]>>>()
        }
        _ => None,
    };
    let user = claims["sub"].as_str()?;
    let is_user = (1..=128).contains(&user.len()) && !user.contains(char::is_control) && user == user.trim();
    let is_sound = is_user && claims["lhttp"].is_null() && matches!(claims["iss"], Value::Null | Value::String(_));
    let info = Some(&claims["lhttp.info"]).filter(|info| !info.is_null()).map(|info| info.to_string().into());
    is_sound.then_some(Claims {
        user: user.into(),
        subscribe: names("lhttp.subscribe")?,
        publish: names("lhttp.publish")?,
        info,
        expires: claims["exp"].as_f64()? as u64,
    })
}

/// Claims that may each be right, wrong, or missing.
fn claims() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let claim = |name: &'static str, values: Vec<String>| {
        prop_oneof![4 => select(values.clone()).prop_map(Some), 1 => Just(None)]
            .prop_map(move |value| value.map(|value| (name, value)))
    };
    let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let time = |offset: i64| (now() as i64 + offset).to_string();
    let exp: Vec<_> = [time(1000), time(5000), time(1000), time(-1000)].into();
    let exp: Vec<_> = exp.into_iter().chain(texts(&["2e11", "4000000000.5", "\"4000000000\"", "null", "{}"])).collect();
    let nbf: Vec<_> = [time(-1000), time(0), time(1000), "0".to_owned(), "[]".to_owned()].into();
    let users = texts(&[r#""mike""#, r#""m\u00fc.*""#, r#""mike""#, r#""""#, r#"" x""#, r#""a\r\nb""#, "7", "null"]);
    let lists =
        texts(&["[]", r#"["a","b.*","c.>"]"#, r#"["a"]"#, r#"["a b"]"#, r#"["a.>.b"]"#, r#""a""#, "null", "[[]]"]);
    (
        claim("exp", exp),
        claim("nbf", nbf),
        claim("sub", users),
        claim("iss", texts(&[r#""https://issuer""#, r#""https:\/\/issuer""#, r#""other""#, "null"])),
        claim("aud", texts(&[r#""chat""#, r#"["x","chat"]"#, r#""x""#, "[]", "null"])),
        claim("lhttp.subscribe", lists.clone()),
        claim("lhttp.publish", lists),
        claim("lhttp.info", texts(&[r#"{"a":[1,true,null]}"#, r#""x""#, "7", "null"])),
        proptest::option::weighted(0.1, select(vec![("lhttp", "{}".to_owned()), ("x", "[[[[]]]]".to_owned())])),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| [a, b, c, d, e, f, g, h, i].into_iter().flatten().collect())
}

/// What happens to a token on its way.
#[derive(Clone, Debug)]
enum Harm {
    None,
    /// This byte, from the end, becomes another one.
    Changed(usize, u8),
    /// So many bytes are missing at the end.
    Cut(usize),
    /// It has this head, and the signature for the right one.
    Head(&'static str),
    /// It has this head, which is signed.
    SignedHead(&'static str),
    /// The first claim stands there twice.
    Twice,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => Just(Harm::None),
        2 => (0_usize..400, 0_u8..128).prop_map(|(at, byte)| Harm::Changed(at, byte)),
        1 => (1_usize..100).prop_map(Harm::Cut),
        1 => select(vec![r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{}"#]).prop_map(Harm::Head),
        1 => select(vec![r#"{"alg":"ALG","crit":["b64"],"b64":true}"#, r#"{"typ":"JWT","kid":"k","alg":"ALG"}"#])
            .prop_map(Harm::SignedHead),
        1 => Just(Harm::Twice),
    ]
}

/// A token of these claims, and whether it has a head or claims that this server refuses although a library may not.
fn token(algorithm: Algorithm, claims: &[(&'static str, String)], harm: &Harm) -> (String, bool) {
    let mut text: Vec<_> = claims.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    let is_doubled = matches!(harm, Harm::Twice) && !text.is_empty();
    if is_doubled {
        text.push(text[0].clone());
    }
    let (_, key, _) = theirs(algorithm);
    let head = match harm {
        Harm::SignedHead(head) => head.replace("ALG", algorithm.name()),
        _ => format!(r#"{{"alg":"{}"}}"#, algorithm.name()),
    };
    let has_crit = head.contains("crit");
    let claims = base64url(format!("{{{}}}", text.join(",")));
    let signed = format!("{}.{claims}", base64url(&head));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, theirs(algorithm).0).unwrap();
    let mut token = format!("{signed}.{signature}");
    match harm {
        Harm::Changed(at, byte) if *at < token.len() => {
            let at = token.len() - 1 - at;
            token.replace_range(at..=at, &char::from(*byte).to_string());
        }
        Harm::Cut(bytes) => token.truncate(token.len().saturating_sub(*bytes)),
        Harm::Head(head) => token = format!("{}.{claims}.{signature}", base64url(head)),
        _ => {}
    }
    (token, is_doubled || has_crit)
}

fn compare(algorithm: Algorithm, config: &Config, claims: &[(&'static str, String)], harm: &Harm) {
    let (token, is_refused_here) = token(algorithm, claims, harm);
    let mut verifier = ours(algorithm, config);
    let verdict = verifier.verify(token.as_bytes(), now());
    let expected =
        their_verdict(algorithm, config, &token).filter(|_| !is_refused_here).and_then(|said| meaning(&said));
    match (&verdict, &expected) {
        (Ok(claims), Some(expected)) => assert_eq!(**claims, *expected, "{token}"),
        (Err(_), None) => {}
        _ => panic!("{algorithm:?} {config:?} {claims:?} {harm:?}: {verdict:?}, but they say {expected:?}: {token}"),
    }
    assert_eq!(verifier.verify(token.as_bytes(), now()), verdict, "the cache says something else");
}

fn config() -> impl Strategy<Value = Config> {
    (any::<bool>(), any::<bool>()).prop_map(|(has_issuer, has_audience)| Config {
        token_issuer: has_issuer.then(|| ISSUER.to_owned()),
        token_audience: has_audience.then(|| AUDIENCE.to_owned()),
        ..Config::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_libraries_say_the_same_of_a_token_with_a_secret(config in config(), claims in claims(), harm in harm()) {
        compare(Algorithm::Hs256, &config, &claims, &harm);
    }
}

proptest! {
    // In a debug build their cryptography takes its time.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_libraries_say_the_same_of_a_token_of_any_algorithm(
        algorithm in select(Algorithm::ALL.to_vec()), config in config(), claims in claims(), harm in harm(),
    ) {
        compare(algorithm, &config, &claims, &harm);
    }
}

#[test]
fn each_algorithm_takes_tokens_of_its_own_key_and_of_no_other() {
    let claims = json!({"sub": "mike", "exp": now() + 1000});
    let tokens = Algorithm::ALL.map(|algorithm| {
        let (name, key, _) = theirs(algorithm);
        encode(&Header::new(name), &claims, &key).unwrap()
    });
    for algorithm in Algorithm::ALL {
        let mut verifier = ours(algorithm, &Config::default());
        for (other, token) in Algorithm::ALL.iter().zip(&tokens) {
            let verdict = verifier.verify(token.as_bytes(), now()).map(|claims| claims.user.to_string());
            let expected = if algorithm == *other { Ok("mike".to_owned()) } else { Err(Invalid::Key) };
            assert_eq!(verdict, expected, "{algorithm:?} takes {other:?}");
        }
    }
}

#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    let claims = base64url(json!({"sub": "eve", "exp": now() + 1000}).to_string());
    let signed = format!("{}.{claims}", base64url(r#"{"alg":"HS256"}"#));
    for (algorithm, pem) in [
        (Algorithm::Rs256, RSA.1),
        (Algorithm::Es256, P256.1),
        (Algorithm::Es384, P384.1),
        (Algorithm::EdDsa, ED25519.1),
    ] {
        for secret in [pem, pem.trim_end()] {
            let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Theirs::HS256).unwrap();
            let token = format!("{signed}.{signature}");
            assert_eq!(ours(algorithm, &Config::default()).verify(token.as_bytes(), now()), Err(Invalid::Key));
        }
    }
}
