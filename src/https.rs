//! TLS for requests that the server sends: rustls with ring, and the system's certificate authorities.

use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// What an agent needs for the URLs of this option.
///
/// # Errors
/// One sentence: the system has no certificate authorities.
pub(crate) fn config(option: &str) -> Result<TlsConfig, String> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    if certificates.is_empty() {
        return Err(format!("{option}: https:// needs certificate authorities (package ca-certificates)"));
    }
    let roots: Vec<_> = certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots));
    Ok(tls.unversioned_rustls_crypto_provider(provider).build())
}
