//! The file of `token-key`: a secret, public keys in PEM, or keys in JSON.

use data_encoding::{BASE64, BASE64_NOPAD};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::{
    KEYS_MAX, der,
    key::{Algorithm, Key},
    key_set::KeySet,
};

/// How a key in PEM or JSON begins, if a program has written it as UTF-16.
const UTF16: [&[u8]; 2] = [b"-\0-\0-\0-\0-\0B\0E\0G", b"{\0\"\0"];

/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 1024;

/// The keys in a file.
///
/// A public key that is taken for a secret would let everybody sign tokens, so all that looks like a key in another form is
/// refused.
///
/// # Errors
/// What is wrong with the file, without what is in it.
pub(super) fn read(content: &[u8]) -> Result<KeySet, String> {
    let trimmed = content.trim_ascii();
    if trimmed.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = trimmed {
        return Err("it begins with a byte order mark: save it as UTF-8 without one".to_owned());
    }
    if UTF16.iter().any(|begin| memchr::memmem::find(content, begin).is_some()) {
        return Err("it is UTF-16: save it as UTF-8".to_owned());
    }
    if matches!(trimmed, [b'{' | b'[', ..]) {
        let text = str::from_utf8(trimmed).map_err(|_| "it is neither UTF-8 nor JSON: begin a secret otherwise");
        return KeySet::read(text?, true);
    }
    let keys =
        if memchr::memmem::find(content, b"-----BEGIN").is_some() { pem(content)? } else { vec![secret(content)?] };
    Ok(KeySet { keys, skipped: Vec::new() })
}

fn secret(content: &[u8]) -> Result<Key, String> {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let secret = line.strip_suffix(b"\r").filter(|_| line.len() < content.len()).unwrap_or(line);
    let is_text = str::from_utf8(secret).is_ok();
    if is_text && secret.contains(&b'\n') {
        return Err("it has several lines, and is neither PEM nor JSON: a secret is one line".to_owned());
    }
    if [&b"ssh-"[..], b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-"].iter().any(|prefix| secret.starts_with(prefix)) {
        let help = "ssh-keygen -e -m PKCS8 -f FILE writes it in PEM";
        return Err(format!("it is a key of SSH: {help}"));
    }
    let decoded = BASE64.decode(secret).or_else(|_| BASE64_NOPAD.decode(secret));
    if der::is_sequence(secret) || decoded.is_ok_and(|bytes| der::is_sequence(&bytes)) {
        return Err("it is a key or certificate in DER: write a public key in PEM".to_owned());
    }
    if secret.len() > SECRET_BYTES_MAX {
        return Err(format!("the secret has more than {SECRET_BYTES_MAX} bytes"));
    }
    Key::secret(Algorithm::Hs256, secret)
}

fn pem(content: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(content) {
        let (kind, der) = section.map_err(|_| "its PEM is broken".to_owned())?;
        match kind {
            SectionKind::PublicKey if keys.len() == KEYS_MAX => {
                return Err(format!("it has more than {KEYS_MAX} keys"));
            }
            SectionKind::PublicKey => keys.push(der::public_key(&der)?),
            SectionKind::Certificate => {
                return Err(
                    "it is a certificate: openssl x509 -pubkey -noout -in FILE writes its public key".to_owned()
                );
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err("it has a private key, and the server needs the public one only: openssl pkey -pubout \
                            -in FILE writes it"
                    .to_owned());
            }
            _ => {}
        }
    }
    if keys.is_empty() {
        return Err("it is PEM without a public key: write it as BEGIN PUBLIC KEY".to_owned());
    }
    Ok(keys)
}
