//! Files with certificates and keys: what `--check` says of them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use crate::helpers::certificates::{Certified, Certifier};

/// The first flags of each test here.
const FLAGS: [&str; 4] = ["--check", "--listen", "tls://127.0.0.1:0", "--log=warn"];

/// The outcome and the words of `lhttpd --check` with these flags.
fn check(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lhttpd")).args(FLAGS).args(args).output().expect("lhttpd runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

#[test]
fn a_certificate_and_its_key_are_valid_together() {
    let certifier = Certifier::new("ca");
    let (one, other) = (certifier.certify("one", &["one.example"]), certifier.certify("other", &["*.other.example"]));
    let client_ca = ["--tls-client-ca", &certifier.ca];
    let (is_valid, said) = check(&[&one.flags()[..], &other.flags(), &client_ca].concat());
    assert!(is_valid && said.starts_with("configuration is valid"), "{said}");
    let mixed = Certified { key: other.key.clone(), ..one.clone() };
    let (is_valid, said) = check(&mixed.flags());
    let expected =
        format!("lhttpd: tls-key: {} does not belong to the first certificate in {}\n", other.key, one.certificate);
    assert_eq!((is_valid, said), (false, expected));
}

#[test]
fn an_address_and_its_certificates_need_each_other() {
    let one = Certifier::new("ca").certify("one", &["one.example"]);
    let (is_valid, said) = check(&[]);
    assert!(!is_valid && said.contains("tls://127.0.0.1:0 needs a certificate and its key"), "{said}");
    let (is_valid, said) = check(&one.flags()[..2]);
    assert!(!is_valid && said.contains("1 of tls-cert and 0 of tls-key"), "{said}");
    let plain = Command::new(env!("CARGO_BIN_EXE_lhttpd")).arg("--check").args(one.flags()).output().expect("it runs");
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(!plain.status.success() && said.contains("tls-cert: it has no effect without an address"), "{said}");
}

#[test]
fn an_expired_certificate_is_an_error_in_the_log_and_keeps_nobody_from_starting() {
    let certifier = Certifier::new("ca");
    let (is_valid, said) = check(&certifier.certify_between("old", [2020, 2021]).flags());
    assert!(is_valid && said.contains("old.pem expired at 2021-01-01T00:00:00Z: clients refuse it"), "{said}");
    let (is_valid, said) = check(&certifier.certify_between("new", [2998, 2999]).flags());
    assert!(is_valid && said.contains("new.pem is valid only from 2998-01-01T00:00:00Z on"), "{said}");
}

#[test]
fn a_key_that_everybody_can_read_causes_a_warning() {
    let certifier = Certifier::new("ca");
    let (one, other) = (certifier.certify("one", &["one.example"]), certifier.certify("other", &["other.example"]));
    for (mode, is_warned) in [(0o644, true), (0o640, false)] {
        fs::set_permissions(&one.key, Permissions::from_mode(0o600)).expect("it is ours");
        fs::set_permissions(&other.key, Permissions::from_mode(mode)).expect("it is ours");
        let (is_valid, said) = check(&[one.flags(), other.flags()].concat());
        let warning = format!("tls-key: everybody on this machine can read {}: chmod o= {}", other.key, other.key);
        assert!(is_valid && said.contains(&warning) == is_warned, "{mode:o}: {said}");
        assert!(!said.contains(&one.key), "{said}");
    }
    let broken =
        certifier.write("broken.key", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n");
    let (is_valid, said) = check(&Certified { key: broken, ..one }.flags());
    assert!(!is_valid && said.contains("cannot be used") && !said.contains("hunter"), "{said}");
}
