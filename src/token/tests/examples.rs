//! Runs the examples that make tokens in other languages, and checks their tokens.

use std::{
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use super::*;

/// Whether a program is installed. Prints a line if not.
fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

/// A test for one example.
fn check(program: &str, example: &str) {
    if !has(program) {
        return;
    }
    // The secret of a file ends with a line break, which does not count.
    let file = File::new(&[SECRET, b"\n"].concat());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tokens").join(example);
    let user = "Mïke \"x\" 😀";
    let secret = file.config().token_key.unwrap();
    let output = Command::new(program).arg(path).arg(secret).args([user, "room.*", "a/b>c"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut verifier = Keys::read(&file.config()).unwrap().unwrap().verifier();
    let claims = verifier.verify(token.trim_end().as_bytes(), now).unwrap();
    let channels: Box<[Box<str>]> = ["room.*".into(), "a/b>c".into()].into();
    assert_eq!((&*claims.user, &claims.subscribe, &claims.publish), (user, &channels, &channels));
    assert!((now + 3500..=now + 3600).contains(&claims.expires), "{} at {now}", claims.expires);
}

#[test]
fn python_makes_a_token_that_is_valid() {
    check("python3", "token.py");
}

#[test]
fn node_makes_a_token_that_is_valid() {
    check("node", "token.mjs");
}

#[test]
fn php_makes_a_token_that_is_valid() {
    check("php", "token.php");
}
