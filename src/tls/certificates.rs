//! From the contents of files to certificates and keys that a server can use.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    choice::Choice,
    files::{Content, Contents},
    validity::Validity,
};

/// Everything that was in the files.
pub(super) struct Certificates {
    pub(super) choice: Choice,
    /// The authorities of clients' certificates.
    pub(super) client_ca: Option<RootCertStore>,
    pub(super) terms: Vec<Term>,
}

/// From when until when the certificate in a file is valid. Those of its chain outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) path: PathBuf,
    pub(super) validity: Validity,
}

impl Certificates {
    /// Checks the contents: all is there, each key is that of its certificate, and each certificate can be chosen. It
    /// does not look at the time.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and shows nothing of a key.
    pub(super) fn of(contents: &Contents, provider: &CryptoProvider) -> Result<Self, String> {
        let mut certificates = Vec::new();
        let mut terms = Vec::new();
        for (certificate, key) in &contents.pairs {
            let (certified, names) = pair(certificate, key, provider)?;
            if names.is_empty() && !certificates.is_empty() {
                let path = certificate.path.display();
                return Err(format!(
                    "tls-cert: {path} names no host, so no client gets it: it must be the first or go"
                ));
            }
            terms.push(term(certificate, &certified.cert[0])?);
            certificates.push((Arc::new(certified), names));
        }
        let client_ca = contents.client_ca.as_ref().map(authorities).transpose()?;
        Ok(Self { choice: Choice::new(certificates), client_ca, terms })
    }
}

/// A certificate with its chain and key, and the hosts that it names.
fn pair(
    certificate: &Content,
    key: &Content,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), String> {
    let chain = chain("tls-cert", certificate)?;
    let (path, key_path) = (certificate.path.display(), key.path.display());
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| match is_encrypted(&key.bytes) {
        true => format!("tls-key: the key in {key_path} is encrypted: lhttpd asks for no password"),
        false => format!("tls-key: there is no private key in {key_path}"),
    })?;
    // Its own sentence may tell of the key's contents.
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|_| format!("tls-key: the key in {key_path} cannot be used: take ECDSA P-256, or RSA of 2048 bits"))?;
    let names = webpki::EndEntityCert::try_from(&chain[0])
        .map_err(|error| format!("tls-cert: the first certificate in {path} cannot be used: {error}"))?
        .valid_dns_names()
        .map(str::to_owned)
        .collect();
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) => Ok((certified, names)),
        Err(_) => Err(format!("tls-key: {key_path} does not belong to the first certificate in {path}")),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let has = |mark: &[u8]| memchr::memmem::find(pem, mark).is_some();
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// The certificates in a file: at least one.
fn chain(option: &str, file: &Content) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = file.path.display();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!("{option}: there is no certificate in {path}")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(format!("{option}: {path} is not a PEM file with certificates")),
    }
}

fn term(file: &Content, certificate: &CertificateDer<'_>) -> Result<Term, String> {
    let path = file.path.clone();
    match Validity::of(certificate) {
        Ok(validity) => Ok(Term { path, validity }),
        Err(error) => {
            Err(format!("tls-cert: the times of the certificate in {} cannot be read: {error}", path.display()))
        }
    }
}

fn authorities(file: &Content) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain("tls-client-ca", file)? {
        roots.add(certificate).map_err(|error| {
            format!("tls-client-ca: a certificate in {} cannot be used: {error}", file.path.display())
        })?;
    }
    Ok(roots)
}
