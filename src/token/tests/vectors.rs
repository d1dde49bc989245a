//! The examples of the RFCs.

use super::*;
use crate::token::{
    jws::{PART_BYTES_MAX, Parts, decode},
    key_set::KeySet,
};

/// Whether the only key of a set has signed a token, whatever the token says.
fn is_signed(jwk: &str, token: &str) -> bool {
    let set = KeySet::read(jwk, true).unwrap();
    let parts = Parts::split(token.as_bytes()).unwrap();
    let mut buffer = [0; PART_BYTES_MAX];
    let signature = decode(parts.signature, &mut buffer).unwrap();
    set.keys[0].has_signed(parts.signed, signature)
}

/// RFC 7515 §A.1: HS256.
#[test]
fn the_first_example_of_rfc_7515() {
    let jwk =
        r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert!(is_signed(jwk, token) && !is_signed(jwk, &token.replace("dBjf", "dBjg")));
    // Its `exp` is 1300819380, and it has no `sub`.
    let mut verifier = Keys::read(&File::new(jwk.as_bytes()).config()).unwrap().unwrap().verifier();
    assert_eq!(verifier.verify(token.as_bytes(), 1_300_819_380 + 29), Err(Invalid::User));
    assert_eq!(verifier.verify(token.as_bytes(), 1_300_819_380 + 30), Err(Invalid::Expired));
}

/// RFC 7515 §A.3: ES256.
#[test]
fn the_third_example_of_rfc_7515() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(is_signed(jwk, token) && !is_signed(jwk, &token.replace("DtEh", "DtEi")));
}

/// RFC 8037 §A.4: EdDSA. What it signs is no JSON.
#[test]
fn the_example_of_rfc_8037() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(is_signed(jwk, token) && !is_signed(jwk, &token.replace("hgyY", "hgyZ")));
}
