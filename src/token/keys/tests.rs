//! Keys that are fetched from an issuer: a small HTTP server in this process.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::json;

use super::*;
use crate::token::{
    Invalid,
    tests::{File, HS256, NOW, SECRET, encode, signed},
};

/// How long anything that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An issuer's server. It gives its answers in their order, and the last one again and again.
struct Issuer {
    address: SocketAddr,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

/// Wakes the thread, so that it ends.
impl Drop for Issuer {
    fn drop(&mut self) {
        self.answers = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

impl Issuer {
    fn start(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let theirs = Arc::downgrade(&answers);
        thread::spawn(move || serve(&listener, &theirs));
        Self { address, answers }
    }

    fn config(&self) -> Config {
        Config { token_jwks: Some(format!("http://{}/keys", self.address)), ..Config::default() }
    }
}

/// Ends with the first connection after the test.
fn serve(listener: &TcpListener, answers: &Weak<Mutex<VecDeque<Vec<u8>>>>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let Some(answers) = answers.upgrade() else { return };
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
        let mut answers = answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        drop(answers);
        let _ = stream.write_all(&answer.unwrap());
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A key of the issuer.
struct Pair(&'static str, EcdsaKeyPair);

impl Pair {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(id, EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap())
    }

    fn jwk(&self) -> serde_json::Value {
        let point = self.1.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": self.0, "x": encode(&point[1..33]), "y": encode(&point[33..])})
    }

    fn token(&self) -> String {
        let head = json!({"alg": "ES256", "kid": self.0}).to_string();
        let signed = format!("{}.{}", encode(head), encode(r#"{"sub":"mike","exp":1800000060}"#));
        let signature = self.1.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }
}

fn set(pairs: &[&Pair]) -> Vec<u8> {
    let keys: Vec<_> = pairs.iter().map(|pair| pair.jwk()).collect();
    answer("200 OK", &json!({ "keys": keys }).to_string())
}

/// Waits until the numbers of the keys are as wanted.
fn wait_for(keys: &Keys, is_wanted: impl Fn(KeyNumbers) -> bool) {
    wait_until("the keys", || is_wanted(keys.numbers()));
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        thread::yield_now();
    }
}

/// Fetches the keys at once, as the thread does at its time.
fn once(keys: &Keys) -> Result<bool, String> {
    keys.fetch.as_ref().expect("there is a URL").once(&keys.shared)
}

fn check(verifier: &mut Verifier, pair: &Pair) -> Result<(), Invalid> {
    verifier.verify(pair.token().as_bytes(), NOW).map(drop)
}

#[test]
fn the_start_waits_for_the_issuers_keys_and_they_add_to_those_of_the_file() {
    let pair = Pair::new("one");
    let issuer = Issuer::start([set(&[&pair])]);
    let file = File::new(SECRET);
    let keys = Keys::read(&Config { token_key: file.config().token_key, ..issuer.config() }).unwrap().unwrap();
    let mut verifier = keys.verifier();
    assert_eq!(check(&mut verifier, &pair), Err(Invalid::Key), "reading fetches nothing");
    keys.start().unwrap();
    wait_for(&keys, |numbers| numbers == KeyNumbers { keys: 2, fetches: 1, failures: 0 });
    assert_eq!(check(&mut verifier, &pair), Ok(()));
    let token = signed(HS256, r#"{"sub":"mike","exp":1800000060}"#);
    assert!(verifier.verify(token.as_bytes(), NOW).is_ok());
}

#[test]
fn an_answer_that_cannot_be_used_changes_nothing() {
    let pair = Pair::new("one");
    let secret = json!({"keys": [{"kty": "oct", "k": encode(SECRET)}]}).to_string();
    let bad = [
        answer("404 Not Found", "{}"),
        answer("500 Internal Server Error", ""),
        b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".to_vec(),
        answer("200 OK", "<html>"),
        answer("200 OK", &secret),
        answer("200 OK", &format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(256 << 10))),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(),
        Vec::new(),
    ];
    let count = bad.len() as u64;
    let issuer = Issuer::start([set(&[&pair])].into_iter().chain(bad));
    let keys = Keys::read(&issuer.config()).unwrap().unwrap();
    let (mut verifier, token) = (keys.verifier(), pair.token());
    assert_eq!(once(&keys), Ok(true));
    for number in 1..=count {
        once(&keys).expect_err("it is bad");
        assert_eq!(keys.numbers(), KeyNumbers { keys: 1, fetches: 1 + number, failures: number });
        assert!(verifier.verify(token.as_bytes(), NOW).is_ok());
    }
    assert_eq!(verifier.tally().verified, 1, "the cache stays");
    *issuer.answers.lock().unwrap() = [set(&[&pair])].into();
    assert_eq!(once(&keys), Ok(false), "the same keys are no change");
}

#[test]
fn a_token_with_a_new_key_asks_for_it_and_an_old_key_ends() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let issuer = Issuer::start([set(&[&old]), set(&[&new])]);
    let keys = Keys::read(&issuer.config()).unwrap().unwrap();
    keys.start().unwrap();
    wait_for(&keys, |numbers| numbers.fetches == 1);
    let mut verifier = keys.verifier();
    assert_eq!(check(&mut verifier, &old), Ok(()));
    assert!(!keys.shared.is_asked());
    for _ in 0..100 {
        assert_eq!(check(&mut verifier, &new), Err(Invalid::Key));
    }
    assert!(keys.shared.is_asked());
    assert_eq!(keys.numbers().fetches, 1, "not within 30 s of the last fetch");
    assert_eq!(once(&keys), Ok(true));
    assert!(!keys.shared.is_asked());
    assert_eq!(check(&mut verifier, &new), Ok(()));
    assert_eq!(check(&mut verifier, &old), Err(Invalid::Key));
}

#[test]
fn the_thread_ends_with_the_keys() {
    let issuer = Issuer::start([answer("200 OK", "{}")]);
    let keys = Keys::read(&issuer.config()).unwrap().unwrap();
    keys.start().unwrap();
    wait_for(&keys, |numbers| numbers.failures > 0);
    let theirs = Arc::downgrade(&keys.shared);
    drop(keys);
    wait_until("the thread ends", || theirs.upgrade().is_none());
}
