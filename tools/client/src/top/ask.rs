//! Requests to the listener of `admin`.

use std::{path::Path, sync::Arc, time::Duration};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::{failure::Failure, show::harmless};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of an answer: a status has some 5 KB, and 400 B for each core.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Asks one server.
pub(super) struct Asker {
    agent: Agent,
    /// Without a `/` at the end.
    url: String,
    authorization: Option<String>,
}

impl Asker {
    /// # Errors
    /// [`Failure::Usage`] for a URL or a file that cannot be used.
    pub(super) fn new(url: &str, key: Option<&str>, ca: Option<&Path>) -> Result<Self, Failure> {
        let is_tls = url.starts_with("https://");
        if !is_tls && !url.starts_with("http://") {
            return Err(Failure::Usage(format!("{url:?} is not a URL such as http://127.0.0.1:9091")));
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("lhttp");
        if is_tls {
            config = config.tls_config(tls(ca).map_err(Failure::Usage)?);
        }
        let authorization = key.map(|key| format!("Bearer {key}"));
        Ok(Self { agent: config.build().into(), url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// The server, for people.
    pub(super) fn place(&self) -> &str {
        self.url.split_once("://").map_or(&*self.url, |(_, place)| place)
    }

    /// The figures of the server.
    ///
    /// # Errors
    /// See [`Asker::ask`].
    pub(super) fn status(&self) -> Result<Value, Failure> {
        self.ask("/api/status")
    }

    /// The busiest channels and the slowest readers.
    ///
    /// # Errors
    /// See [`Asker::ask`].
    pub(super) fn top(&self) -> Result<Value, Failure> {
        self.ask("/api/top")
    }

    /// # Errors
    /// [`Failure::Refused`] for the wrong key; [`Failure::Connection`] if there is no answer, or none of lhttpd.
    fn ask(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let lost = |why: &str| Failure::Connection(format!("{url}: {}", harmless(why)));
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = match request.call() {
            Ok(response) => response,
            Err(ureq::Error::Timeout(_)) => return Err(Failure::TimedOut(format!("{url}: no answer in {PATIENCE:?}"))),
            Err(error) => return Err(lost(&error.to_string())),
        };
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match status {
            200 => {}
            401 => return Err(Failure::Refused("the server wants its key: set LHTTP_ADMIN_KEY".to_owned())),
            status => return Err(lost(&format!("it answers {status}: is this the address of --admin?"))),
        }
        let body = body.map_err(|error| lost(&error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| lost(&format!("the answer is not JSON: {error}")))
    }
}

/// Trust in the certificates of this file, or the system's.
fn tls(ca: Option<&Path>) -> Result<TlsConfig, String> {
    let certificates = match ca {
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            certificates.map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if certificates.is_empty() {
        return Err("https:// needs certificate authorities (package ca-certificates, or --ca FILE)".to_owned());
    }
    let roots: Vec<_> = certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots));
    Ok(tls.unversioned_rustls_crypto_provider(provider).build())
}
