//! Tokens for tests, and the file with their key.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests";

/// A file with the key of the tokens. It is deleted with the value.
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lhttp-key-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::write(&path, SECRET).expect("the directory for temporary files takes a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        }
        Self(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().expect("the path is UTF-8")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A token of this user that is valid for an hour, with these lists.
pub(crate) fn token(user: &str, subscribe: &[&str], publish: &[&str]) -> String {
    token_until(now() + 3600, user, subscribe, publish)
}

/// The same, with this `exp`.
pub(crate) fn token_until(expires: u64, user: &str, subscribe: &[&str], publish: &[&str]) -> String {
    let claims = format!(
        "{{\"sub\":{user:?},\"exp\":{expires},\"lhttp.subscribe\":{subscribe:?},\"lhttp.publish\":{publish:?}}}"
    );
    signed(&claims)
}

/// A token with these claims in JSON.
pub(crate) fn signed(claims: &str) -> String {
    let encode = |text: &[u8]| BASE64URL_NOPAD.encode(text);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

/// The Unix time in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}
